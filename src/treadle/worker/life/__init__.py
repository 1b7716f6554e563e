"""A worker's life in its surroundings: signals, the state of its store, its health."""
