"""The engine room of the SQLite store: what its verbs stand on.

`sql` loads the statements, `pool` keeps connections, `runner` carries a transaction through
locks and faults, `overdue` says who is next, `clock` gives the store's now, `bell` wakes other
processes, `live` proves that a worker lives.
"""
