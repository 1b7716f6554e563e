"""Marks: how a job proves that it ran, the same way in every system under test.

A job makes one `os.write` of one record to a file opened for appending, so counts, first and
last start, duplicates and each process's share come from the jobs themselves and not from a
system's own book-keeping. The write costs about a microsecond and is part of what is measured,
for all alike. Uses only the standard library, because peers import it in their environments.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARKS_VARIABLE = "TREADLE_BENCH_MARKS"
WARM_UP = -1
"""The number of jobs that only warm a worker up; no measure counts their marks."""

_RECORD = struct.Struct("=qqq")
_open_files: dict[int, int] = {}


@dataclass(frozen=True)
class Mark:
    """One execution: the process it ran in, the job's number, when it started (monotonic ns)."""

    process: int
    number: int
    at_ns: int


def mark(number: int) -> int:
    """Append this execution to the marks file and return the job's number.

    The clock is CLOCK_MONOTONIC, which all processes of one machine share.
    """
    at_ns = time.monotonic_ns()
    process = os.getpid()
    file = _open_files.get(process)
    if file is None:
        file = _open_marks(process)
    os.write(file, _RECORD.pack(process, number, at_ns))
    return number


def _open_marks(process: int) -> int:
    """Open the marks file once a process; a fork opens its own."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    file = os.open(os.environ[MARKS_VARIABLE], flags, 0o644)
    _open_files[process] = file
    return file


def count_marks(path: Path) -> int:
    """Return how many executions the file holds, by its size, warm-ups included."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0


def read_marks(path: Path) -> list[Mark]:
    """Return every execution in the order of start, without warm-ups."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = len(content) - len(content) % _RECORD.size
    marks = [Mark(*fields) for fields in _RECORD.iter_unpack(content[:whole])]
    return sorted(
        (one for one in marks if one.number != WARM_UP),
        key=lambda one: one.at_ns,
    )


@dataclass(frozen=True)
class Drain:
    """What a drained backlog looks like from its marks.

    `jobs_per_s` counts from the moment every process that took part has started its first job,
    so that one that starts a little later does not lower the rate of two.
    """

    jobs_per_s: float
    seconds: float
    executions: int
    missing: int
    duplicates: int
    smallest_share_percent: float


def summarise_drain(marks: list[Mark], expected: int, processes: int) -> Drain:
    """Reduce the marks of a drain of `expected` jobs by `processes` workers to its figures.

    A worker that never ran anything has a share of zero.
    """
    numbers = Counter(one.number for one in marks)
    by_process = Counter(one.process for one in marks)
    all_started_ns = max(_first_starts(marks).values(), default=0)
    counted = [one for one in marks if one.at_ns >= all_started_ns]
    seconds = (counted[-1].at_ns - counted[0].at_ns) / 1e9 if len(counted) > 1 else 0.0
    shares = [by_process[process] for process in by_process]
    smallest = min(shares) if len(shares) >= processes else 0
    return Drain(
        jobs_per_s=(len(counted) - 1) / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        executions=len(marks),
        missing=expected - len(numbers),
        duplicates=len(marks) - len(numbers),
        smallest_share_percent=100 * smallest / len(marks) if marks else 0.0,
    )


def rates_by_part(marks: list[Mark], parts: int) -> list[float]:
    """Cut executions in order of start into equal parts; return the jobs a second of each.

    Parts of fewer than two executions have no rates.
    """
    size = len(marks) // parts
    if size < 2:  # noqa: PLR2004 -- a rate needs two points
        return []
    ends = [(marks[part * size], marks[(part + 1) * size - 1]) for part in range(parts)]
    return [(size - 1) * 1e9 / max(1, last.at_ns - first.at_ns) for first, last in ends]


def _first_starts(marks: Iterable[Mark]) -> dict[int, int]:
    first: dict[int, int] = {}
    for one in marks:
        first.setdefault(one.process, one.at_ns)
    return first
