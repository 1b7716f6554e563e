"""The commands about gates."""
