"""Connections of the caller's own: which driver is it, and how are statements run on it?

`find` looks at what `connection=` was given and makes its adapter; `within` stores jobs through
one. The adapters: `sqlite` for the sqlite3 module, `alchemy` for SQLAlchemy, `postgres` for
psycopg and asyncpg. None of them imports its library: the caller's object brings it along.
"""
