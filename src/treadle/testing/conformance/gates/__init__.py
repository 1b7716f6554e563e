"""What gates promise, in four files: places, rates, ways out, and control."""
