"""The data of one run: what is written to `bench/results/`, and nothing that is not measured.

A row is one system under one measure, with every repetition as it came and their medians. A
verdict compares medians with a bar; it is reported and never asserted, because a benchmark
that fails a build on a busy machine teaches people to ignore it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.harness.figures import Figures

FORMAT = 1


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One system under one measure. `error` says why figures are missing."""

    system: str
    measure: str
    settings: str = ""
    guarantees: str = ""
    versions: dict[str, str] = {}
    repetitions: list[Figures] = []
    medians: Figures = {}
    error: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """One bar and what was reached; `ok` is None when the figures it needs are missing."""

    bar: str
    wanted: str
    reached: str
    ok: bool | None


class Report(msgspec.Struct, frozen=True):
    """One run of the suite."""

    format: int
    date: str
    mode: str
    seconds: float
    commit: dict[str, object]
    machine: dict[str, object]
    rows: list[Row]
    verdicts: list[Verdict]
    engine: dict[str, str] = {}
    """What the stores ran on: the engine's version and the settings that make a write durable."""


class Results:
    """Looks medians up by system and measure."""

    def __init__(self, rows: list[Row]) -> None:
        """Index `rows`; there is one for each pair."""
        self.rows = rows
        self._by_name = {(row.system, row.measure): row for row in rows}

    def median(self, system: str, measure: str, figure: str) -> float | None:
        """Return a median, or None when it was not measured."""
        row = self._by_name.get((system, measure))
        return None if row is None else row.medians.get(figure)

    def every(self, system: str, measure: str, figure: str) -> list[float]:
        """Return a figure of each repetition."""
        row = self._by_name.get((system, measure))
        return [] if row is None else [one[figure] for one in row.repetitions if figure in one]

    def best(self, prefix: str, measure: str, figure: str) -> float | None:
        """Return the highest median among the systems whose name starts with `prefix`."""
        return self.best_of(lambda name: name.startswith(prefix), measure, figure)

    def best_of(self, among: Callable[[str], bool], measure: str, figure: str) -> float | None:
        """Return the highest median among the systems whose name `among` accepts."""
        found = [
            row.medians[figure]
            for row in self.rows
            if row.measure == measure and among(row.system) and figure in row.medians
        ]
        return max(found, default=None)


def write(report: Report, path: Path) -> None:
    """Write the report as indented JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    partial.replace(path)


def read(path: Path) -> Report:
    """Read a report back.

    Raises:
        msgspec.ValidationError: the file is of another format.
    """
    return msgspec.json.decode(path.read_bytes(), type=Report)
