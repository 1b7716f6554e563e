"""Benchmarks: treadle beside what a user would pick instead, on one machine in one run.

Start at `run.py`, which says what is measured and in what order. `peers/` holds one file a
system, `probes/` what the machine itself allows, `measures/` one file a question, `harness/`
the processes, marks and machine facts that all of them use. `README.md` says how to read the
numbers. Nothing here is imported by the package.
"""
