"""Tests of what keeps the line going: workers that come and go, due jobs, old records.

`beat` prolongs leases, `leave` ends them, `rescue` takes over from the dead, `stage` makes
due jobs ready, `prune` deletes what is over, `wait` hears of new work and of ends.
"""
