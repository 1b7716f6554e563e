"""What the machine allows without any job system: the ceilings that the tables are read against.

Each probe is a small program of its own that prints one line of JSON, so that it runs in a
fresh process like everything else here. A probe of a server is given `--url` of an empty store,
`--count` and `--batch`, and answers among other things `enqueue_per_s` and `exchange_per_s`.
"""
