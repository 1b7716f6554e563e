"""Exchanges: their order of steps (`exchange`), what they ask for and are given (`claims`)."""
