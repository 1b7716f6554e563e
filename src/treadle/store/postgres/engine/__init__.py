"""What the PostgreSQL store's verbs stand on.

`target` reads the URL, `sql` loads the statements, `pack` writes and reads the binary format,
`rows` reads claims, `wire` is one connection, `pool` keeps them, `runner` carries a verb's
conversation through faults, `trouble` says what an error means.
"""
