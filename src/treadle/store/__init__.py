"""Stores: where jobs live.

`contract` and its `parts` say what a store can do; `sqlite` does it on one file or in memory,
`postgres` and `redis` do it on a server, `outbox` in a table of somebody else's database. To learn
what a verb promises, read its docstring in `contract`; to see how, open the store's file of that
name. `open` makes a store of a URL, `doctor` examines one (`findings` is what it finds); what
stores share is in `statements`, `dialling`, `marking` and `paging`.
"""
