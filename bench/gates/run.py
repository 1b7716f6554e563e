"""Measures the price of limits on each store, prints it beside its bars, and writes the data.

    python -m bench.gates [--engine sqlite|redis|postgres] [--quick] [--out FILE]

A full run of all three takes less than ten minutes and writes `bench/results/gates.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.bars.comparing import at_least, at_most
from bench.engines import ENGINES
from bench.gates.drains import costs, opened
from bench.gates.parked import another_key, idle, side_by_side
from bench.harness.environments import ROOT
from bench.harness.figures import Figures, medians
from bench.harness.machine import commit, describe_machine
from bench.harness.processes import BenchError
from bench.harness.report import FORMAT, Report, Results, Row, Verdict, write
from bench.suite import say

RESULTS: Final = ROOT / "bench" / "results" / "gates.json"
MANY: Final = 8
"""Worker processes of the second measure."""
GATES: Final = ("gates_1", f"gates_{MANY}")
PARKED: Final = ("parked_idle", "parked_beside")


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    name: str
    jobs: int
    rounds: int
    parked: int
    settle_s: float
    idle_s: float
    idle_rounds: int


FULL: Final = Plan("full", 16_000, 5, 100_000, 3.0, 15.0, 2)
QUICK: Final = Plan("quick", 600, 1, 1_000, 0.5, 1.0, 1)


class Bench:
    """One run: its plan, a directory for files, and the rows so far."""

    def __init__(self, plan: Plan, scratch: Path) -> None:
        """Measure by this plan, with files in this directory."""
        self.plan = plan
        self.scratch = scratch
        self.rows: list[Row] = []
        self.facts: dict[str, str] = {}
        """What the engines say of themselves."""
        self.failed = False

    def measure(self, engine: str) -> None:
        """Take every measure of an engine; one that fails is noted with its reason."""
        scratch, plan = self.scratch / engine, self.plan
        scratch.mkdir()
        with self._noted(engine, GATES), ENGINES[engine](scratch) as server:
            self.facts |= server.facts
            for name, processes in zip(GATES, (1, MANY), strict=True):
                directory = scratch / name
                directory.mkdir()
                with server.fresh(directory) as url, opened(url, directory) as shop:
                    self._add(engine, name, costs(shop, processes, plan.jobs, plan.rounds))
        with (
            self._noted(engine, PARKED),
            side_by_side(engine, scratch, plan.parked) as pair,
        ):
            looks = [idle(pair, plan.settle_s, plan.idle_s) for _ in range(plan.idle_rounds)]
            self._add(engine, PARKED[0], looks)
            self._add(engine, PARKED[1], another_key(pair, plan.jobs, plan.rounds))

    @contextlib.contextmanager
    def _noted(self, engine: str, measures: Sequence[str]) -> Iterator[None]:
        """Note what fails in the block for those measures that have no figures."""
        try:
            yield
        except BenchError as error:
            say(f"failed: {error}")
            self.failed = True
            have = {row.measure for row in self.rows if row.system == engine}
            self.rows += [
                Row(engine, name, error=str(error)) for name in measures if name not in have
            ]

    def _add(self, engine: str, name: str, repetitions: list[Figures]) -> None:
        row = Row(engine, name, repetitions=repetitions, medians=medians(repetitions))
        self.rows.append(row)
        said = ", ".join(f"{key} {value:.4g}" for key, value in row.medians.items())
        say(f"{engine:9} {name:14} {said}")


def verdicts(results: Results, engine: str) -> list[Verdict]:
    """Hold an engine's figures against the bars; two gates have none."""
    one = results.median(engine, GATES[0], "one_of_none")
    many = results.median(engine, GATES[1], "one_of_none")
    beside = results.median(engine, PARKED[1], "crowded_of_empty")
    rests = {
        said: results.median(engine, PARKED[0], f"{name}_ratio")
        for name, said in (
            ("calls_per_s", "store calls"),
            ("store_work", "rows read"),
            ("cpu_percent", "idle processor time"),
        )
    }
    return [
        at_least(f"{engine}: one gate that does not bind, 1 process", one, 0.7, "of none"),
        at_least(f"{engine}: the same, {MANY} processes", many, 0.5, "of none"),
        *(
            at_most(f"{engine}: {said} beside parked jobs", ratio, 1.15, "of an empty queue's")
            for said, ratio in rests.items()
        ),
        at_least(f"{engine}: another key beside parked jobs", beside, 0.9, "of alone"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; 1 when some of it could not be measured."""
    parser = argparse.ArgumentParser(prog="bench.gates", description=__doc__)
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="repeatable")
    parser.add_argument("--quick", action="store_true", help="small counts; a minute an engine")
    parser.add_argument(
        "--out", type=Path, help="a full run of all writes bench/results/gates.json"
    )
    options = parser.parse_args(arguments)
    plan, start = QUICK if options.quick else FULL, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="treadle-gates-") as folder:
        bench, machine = Bench(plan, Path(folder)), describe_machine(Path(folder))
        for engine in options.engine or ENGINES:
            bench.measure(engine)
    results = Results(bench.rows)
    report = Report(
        format=FORMAT,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        mode=plan.name,
        seconds=round(time.monotonic() - start, 1),
        commit=commit(),
        machine=machine,
        rows=bench.rows,
        verdicts=[one for engine in options.engine or ENGINES for one in verdicts(results, engine)],
        engine=bench.facts,
    )
    for one in report.verdicts:
        met = {True: "met", False: "short", None: "not measured"}[one.ok]
        sys.stdout.write(f"{one.bar}: {one.reached}, wanted {one.wanted}: {met}\n")
    whole = not options.quick and not options.engine and not bench.failed
    out = options.out or (RESULTS if whole else None)
    if out is not None:
        write(report, out)
        say(f"written: {out}")
    return 1 if bench.failed else 0
