"""Stores: where jobs live.

`contract` says what a store can do; `sqlite` does it on one file or in memory.
To learn what a verb promises, read its docstring in `contract`; to see how, open the
store's file of that name.
"""
