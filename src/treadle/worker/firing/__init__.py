"""Firing: which worker looks at schedules when, and what a look does."""
