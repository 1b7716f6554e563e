"""What the machine allows without any job system: the ceilings that the tables are read against.

Each probe is a small program of its own that prints one line of JSON, so that it runs in a
fresh process like everything else here. A probe of a server is given `--url` of an empty store
and `--count`, and answers among other things `insert_jobs_per_s` and `exchange_jobs_per_s`.
"""
