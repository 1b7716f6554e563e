"""Keys and locks in PostgreSQL.

`taking` stores jobs that want a key, `freeing` what an end says after itself, and `verbs` is
what the store's face has of keys and locks.
"""
