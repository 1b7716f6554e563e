"""Whole jobs out of a PostgreSQL store and into one: see `verbs`, and `store.moving` for why."""
