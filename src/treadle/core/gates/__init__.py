"""Gates: named limiters in the store, and what users write to put a job behind them.

`limits` holds the values of `limits=` and turns them into the gates of a job, `gate` is what a
job carries and the arithmetic of one gate. All of it is pure; docs/adr/0018 says why it is so.
"""
