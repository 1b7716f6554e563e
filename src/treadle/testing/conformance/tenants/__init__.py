"""Tenants: whose job goes first, and what a weight changes."""
