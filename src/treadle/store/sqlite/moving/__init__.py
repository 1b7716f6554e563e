"""Whole jobs out of a SQLite store and into one: see `verbs`, and `store.parts.moving` for why."""
