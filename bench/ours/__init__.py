"""Measures that only treadle is asked: promises that no peer makes, each with its bar.

`app.py` holds the tasks that the workers run, `client.py` the programs that enqueue and wait in
processes of their own, `peek.py` reads the store beside them. `backlog`, `waiting` and
`holding` are the measures.
"""
