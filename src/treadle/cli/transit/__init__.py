"""The commands that bring jobs into a store: `relay` out of an outbox, `move` out of a store."""
