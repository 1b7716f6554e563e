"""Fairness between tenants: whom a job belongs to, and what that costs its tenant of a turn.

The line itself is the stores': they give each job of a tenant its order tag as it becomes ready
(docs/adr/0021).
"""
