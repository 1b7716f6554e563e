"""News: how a commit in one process wakes those who wait in others."""
