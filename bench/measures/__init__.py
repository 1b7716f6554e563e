"""One file a question: how fast in, how fast out, how soon, at what cost while idle.

`throughput`, `latency` and `idle` are asked of every system alike; what only treadle is asked
is in `bench/ours/`. Each function makes one repetition and returns its figures; `catalogue.py`
and `run.py` decide how often and of whom.
"""
