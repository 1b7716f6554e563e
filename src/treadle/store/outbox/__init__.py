"""The outbox: a table in the caller's own database that holds jobs for a store elsewhere.

`table` says what is written and read there, `queries/outbox.sql` in which words.
"""
