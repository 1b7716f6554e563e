"""Keys: a name that at most one job holds.

What a store is told is in `key`, what users write (`Unique`, `Debounce`, `Throttle`) in `rules`,
how the arguments of a call become a name in `naming`. All of it is pure.
"""
