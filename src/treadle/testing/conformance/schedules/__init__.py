"""What stores promise about schedules."""
