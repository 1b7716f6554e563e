"""The commands about tenants."""
