"""Gates: named limiters in the store, and what users write to put a job behind them.

`limits` holds the values of `limits=` and turns them into the gates of a job, `breaker` is the one
that shuts by itself. `gate` is what a job carries and the arithmetic of one gate, `window` that of
a sliding window, `tells` what an attempt says of gates and what they make of it, `arriving` what
has started in a window of another store. All of it is pure; docs/adr/0019 says why it is so.
"""
