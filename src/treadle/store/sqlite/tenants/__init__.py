"""Fairness between tenants in SQLite: giving order tags, and the table of weights."""
