"""Whole jobs out of a PostgreSQL store and in: see `verbs`, and `store.parts.moving` for why."""
