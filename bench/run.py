"""Runs the benchmarks from the command line, prints the tables and writes the data.

`make bench` calls it. What is measured is in `suite.py` and `catalogue.py`, what it runs on in
`engines/`, the bars are in `bars/`, and how to read the result is in `README.md`.
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
from bench.engines import ENGINES
from bench.harness.environments import ROOT
from bench.harness.machine import commit, describe_machine
from bench.harness.plan import Plan, plan_for
from bench.harness.processes import BenchError
from bench.harness.report import FORMAT, Report, Results, write
from bench.selection import Selection
from bench.suite import Bed, Suite, say

RESULTS = ROOT / "bench" / "results"


def measure_all(bed: Bed, plan: Plan, selection: Selection) -> Report:
    """Make one run on one engine and return its report."""
    machine = describe_machine(bed.scratch)
    start = time.monotonic()
    rows = Suite(bed, plan, selection).run()
    return Report(
        format=FORMAT,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        mode=plan.name,
        seconds=round(time.monotonic() - start, 1),
        commit=commit(),
        machine=machine,
        rows=rows,
        verdicts=verdicts(Results(rows), bed.engine),
        engine=bed.server.facts,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, print the tables, write the data.

    Returns 1 when an engine could not be had; the others are measured all the same.
    """
    options = _options(arguments)
    missing = 0
    for engine in options.engine or list(ENGINES):
        try:
            _run(engine, options)
        except BenchError as error:
            say(f"{engine} was not measured: {error}")
            missing += 1
    return 1 if missing else 0


def _run(engine: str, options: argparse.Namespace) -> None:
    """Start an engine, measure on it, end it, print and write.

    Raises:
        BenchError: the engine could not be started.
    """
    plan = plan_for(engine, quick=options.quick)
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=options.directory) as folder:
        scratch = Path(folder)
        with ENGINES[engine](scratch) as server:
            report = measure_all(Bed(engine, server, scratch), plan, Selection(options.only))
    sys.stdout.write(table.render(report) + "\n\n")
    whole = not options.quick and not options.only
    out = options.out or (RESULTS / f"{engine}.json" if whole else None)
    if out is not None:
        write(report, out)
        say(f"written: {out}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure treadle and its peers.")
    parser.add_argument(
        "--engine",
        action="append",
        choices=list(ENGINES),
        help="keep to this engine; repeatable; without it all of them, one after the other",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small counts, a few minutes an engine"
    )
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
        help="where the data of one engine goes; "
        f"a whole full run writes {RESULTS.relative_to(ROOT)}/<engine>.json",
    )
    parser.add_argument(
        "--directory", type=Path, help="where the stores are made: on a disk, not in memory"
    )
    options = parser.parse_args(arguments)
    if options.out is not None and len(options.engine or ENGINES) != 1:
        parser.error("--out holds the data of one engine: name it with --engine")
    return options
