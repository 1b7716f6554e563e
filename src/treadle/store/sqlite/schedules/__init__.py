"""Schedules in SQLite: a table of names, revisions and instants, moved by compare-and-set."""
