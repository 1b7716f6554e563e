"""Schedules: what is stored of one, and what becomes of its ticks.

Pure: `record` has the values, `advance` decides which ticks become jobs, `ticks` makes those
jobs, `declared` compares what the code says with what is stored. Stores keep a schedule as a
name, a revision, an instant at which to look again and bytes they never read.
"""
