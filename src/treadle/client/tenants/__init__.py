"""Tenants, as an application looks at them and changes their weights."""
