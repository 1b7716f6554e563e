"""One file a system under test; `base.py` says what such a file must offer.

A peer file imports its library at the top and is therefore imported only inside the
environment that has it, through `bench.drive`. The runner learns everything else about a peer
by asking it to describe itself.
"""
