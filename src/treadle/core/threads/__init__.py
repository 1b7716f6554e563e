"""Threads: what is to be known of the one that runs."""
