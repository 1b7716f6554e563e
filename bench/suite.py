"""The suite: probes, then each measure over all systems in turn.

Repetitions go round the systems, so that a machine that slows down does so for everybody. A
measure that fails is recorded with its reason, is not repeated for that system, and the run
goes on. What is measured is listed in `catalogue.py`; `run.py` reads the command line.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.catalogue import MEASURES, PROBES, Measure, Probe
from bench.engines.base import Server
from bench.harness.environments import (
    ROOT,
    environment,
    is_ours,
    make_environment,
    requirements,
)
from bench.harness.figures import Figures, medians
from bench.harness.plan import Clock, Plan
from bench.harness.processes import BenchError, run_json
from bench.harness.report import Row
from bench.harness.systems import System, ask, peer_modules, site
from bench.selection import Selection

_PROBE_LIMIT_S = 120.0


@dataclass(frozen=True)
class Bed:
    """What a run stands on: an engine's name, its running server, a directory for files."""

    engine: str
    server: Server
    scratch: Path


class Suite:
    """One run: its engine, its plan, its time limit and the rows so far."""

    def __init__(self, bed: Bed, plan: Plan, selection: Selection) -> None:
        """Start the clock of a run on `bed` that keeps to `selection`."""
        self.bed = bed
        self.plan = plan
        self.selection = selection
        self.clock = Clock(plan.total_limit_s)
        self.rows: list[Row] = []

    def run(self) -> list[Row]:
        """Measure everything selected and return the rows."""
        self._probes()
        systems = self._systems()
        for measure in MEASURES:
            if self.bed.engine in measure.engines and self.selection.has_measure(measure.name):
                self._measure(measure, [one for one in systems if measure.asked(one)])
        return self.rows

    def _probes(self) -> None:
        """Run each probe as often as the plan says and keep its row."""
        for probe in PROBES:
            name = f"probe:{probe.name}"
            if self.bed.engine in probe.engines and self.selection.has_system(name):
                taken: list[Figures] = []
                error = ""
                for _ in range(self.plan.repetitions):
                    error = error or self._attempt(taken, partial(self._run_probe, probe))
                row = Row(name, "probe", repetitions=taken, medians=medians(taken), error=error)
                self.rows.append(row)

    def _run_probe(self, probe: Probe) -> Figures:
        """Run a probe's program once, on an empty store and in a fresh directory.

        Raises:
            BenchError: it failed.
        """
        module = f"bench.probes.{probe.name.replace('-', '_')}"
        with (
            tempfile.TemporaryDirectory(prefix="probe-", dir=self.bed.scratch) as fresh,
            self.bed.server.fresh(Path(fresh)) as store,
        ):
            directory = Path(fresh)
            answer = run_json(
                [sys.executable, "-m", module, *probe.words(self.plan, directory, store)],
                env=environment(store, directory / "marks"),
                cwd=ROOT,
                log=directory / "log",
                timeout_s=_PROBE_LIMIT_S,
            )
        return {
            name: float(value) for name, value in answer.items() if isinstance(value, int | float)
        }

    def _systems(self) -> list[System]:
        """Ask every peer file for its systems; one that cannot answer becomes an error row."""
        modules = peer_modules(self.bed.engine)
        found: list[System] = []
        for module in filter(self.selection.has_module, modules):
            try:
                if not is_ours(module):
                    make_environment(requirements(module))
                said = ask(module, self.bed.server, self.bed.scratch)
            except BenchError as error:
                self.rows.append(Row(module, "describe", error=str(error)))
                continue
            wanted = [one for one in said if self.selection.has_system(one.name)]
            found.extend(wanted if self.plan.every_variant or is_ours(module) else wanted[:1])
        return found

    def _measure(self, measure: Measure, systems: Sequence[System]) -> None:
        """Take one measure of all `systems`, going round them for each repetition."""
        taken: dict[str, list[Figures]] = {system.name: [] for system in systems}
        errors = dict.fromkeys(taken, "")
        for _ in range(1 if measure.once else self.plan.repetitions):
            for system in systems:
                errors[system.name] = errors[system.name] or self._attempt(
                    taken[system.name], partial(self._take, measure, system)
                )
        for system in systems:
            row = Row(
                system.name,
                measure.name,
                settings=system.variant.settings,
                guarantees=system.peer.guarantees,
                versions=system.peer.versions,
                repetitions=taken[system.name],
                medians=medians(taken[system.name]),
                error=errors[system.name],
            )
            self.rows.append(row)

    def _take(self, measure: Measure, system: System) -> Figures:
        """Take a measure of one system once, in a fresh directory.

        Raises:
            BenchError: it could not be taken.
        """
        self.clock.check()
        start = time.monotonic()
        with site(system, self.bed.server, self.bed.scratch) as place:
            figures = measure.take(place, self.plan)
        say(f"{measure.name:16} {system.name:24} {time.monotonic() - start:6.1f} s")
        return figures

    def _attempt(self, taken: list[Figures], take: Callable[[], Figures]) -> str:
        """Add what `take` returns to `taken`; return the reason when it fails, else nothing."""
        try:
            taken.append(take())
        except BenchError as error:
            say(f"failed: {error}")
            return str(error)
        return ""


def say(text: str) -> None:
    """Report progress on standard error, so that standard output holds only the tables."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
