"""Fairness between tenants in PostgreSQL: giving order tags, and the table of weights."""
