"""What gates promise, in five files: places, rates, ways out, changes of kind, and control."""
