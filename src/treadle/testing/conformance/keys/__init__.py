"""What every store promises of keys and locks: taking, freeing, replacing, asking again."""
