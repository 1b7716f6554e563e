"""What every measure needs: processes that surely end, the marks of jobs, the machine's facts."""
