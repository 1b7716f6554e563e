"""Keys and locks in SQLite.

`taking` says what becomes of a new job with a key, `freeing` what an end does to the key of its
job, and `locks` holds the verbs of locks.
"""
