"""Keys: a name that at most one job holds.

What a store is told is in `key`, what users write (`Unique`, `Debounce`, `Throttle`) in `rules`,
how the arguments of a call become a name in `naming`, what is a legal name of any thing in `names`.
All of it is pure.
"""
