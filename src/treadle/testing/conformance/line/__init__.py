"""Tests of the line: a job is enqueued, claimed and settled.

`enqueue` stores batches, `claim` and `order` take jobs out, `settle` and `attempts` write
what became of them, `fencing` refuses late writers, `requests` sends writes again.
"""
