"""Runs the benchmarks from the command line, prints the tables and writes the data.

`make bench` calls it. What is measured is in `suite.py` and `catalogue.py`, the bars are in
`bars.py`, and how to read the result is in `README.md`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import table
from bench.bars import verdicts
from bench.harness.environments import ROOT
from bench.harness.machine import commit, describe_machine
from bench.harness.plan import FULL, QUICK, Plan
from bench.harness.report import FORMAT, Report, Results, write
from bench.selection import Selection
from bench.suite import Suite, say

RESULTS = ROOT / "bench" / "results" / "sqlite.json"


def measure_all(plan: Plan, scratch: Path, selection: Selection) -> Report:
    """Make one run and return its report."""
    machine = describe_machine(scratch)
    start = time.monotonic()
    rows = Suite(plan, scratch, selection).run()
    return Report(
        format=FORMAT,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        mode=plan.name,
        seconds=round(time.monotonic() - start, 1),
        commit=commit(),
        machine=machine,
        rows=rows,
        verdicts=verdicts(Results(rows)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, print the tables, write the data; return 0."""
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=options.directory) as scratch:
        report = measure_all(plan, Path(scratch), Selection(options.only))
    sys.stdout.write(table.render(report) + "\n")
    whole = plan is FULL and not options.only
    out = options.out or (RESULTS if whole else None)
    if out is not None:
        write(report, out)
        say(f"written: {out}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure treadle and its peers.")
    parser.add_argument("--quick", action="store_true", help="small counts, under two minutes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a system (huey, treadle:async, probe:fsync) or a measure (latency); repeatable",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"where the data goes; a whole full run writes {RESULTS.relative_to(ROOT)}",
    )
    parser.add_argument(
        "--directory", type=Path, help="where the stores are made: on a disk, not in memory"
    )
    return parser.parse_args(arguments)
