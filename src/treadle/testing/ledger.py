"""The ledger: what really happened, written down by the tasks and producers themselves.

Every line is one `write` to a file opened for appending, so lines of several processes never
mix and what was written outlives a SIGKILL (not a power failure). `judge` compares the lines
with what the store says at the end. A job is known by a key of the test's own, because a
producer that was killed never learned its id.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, cast, get_args

from msgspec import Struct

from treadle.core.job import TERMINAL, JobState

Word = Literal["TRY", "OK", "ERR", "START", "END", "APPLIED", "LOST"]
"""A producer is about to enqueue; its call has returned, or raised (then the job may be there or
not); a task begins; it is about to return; a worker is given a settlement's verdict."""

_WORDS: Final = frozenset(get_args(Word))
_SHOWN: Final = 10


class Entry(Struct, frozen=True):
    """One line."""

    word: Word
    key: str
    pid: int
    at: int = 0
    """When, in milliseconds of the machine's monotonic clock, which no step of a clock moves."""


class Ledger:
    """A file that only grows; any number of processes and threads may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, word: Word, *keys: str) -> None:
        """Append a line for each key, all with one write.

        Raises:
            ValueError: a key holds white space, so that its line could not be read again.
            OSError: the disk did not take all of it.
        """
        for key in keys:
            if not key or len(key.split()) != 1:
                raise ValueError(f"a ledger's key is one word, not {key!r}")
        rest = f"{os.getpid()} {time.monotonic_ns() // 1_000_000}"
        lines = "".join(f"{word} {key} {rest}\n" for key in keys).encode()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(file, lines) != len(lines):
                raise OSError(f"the ledger {self.path} took only a part of {len(lines)} bytes")
        finally:
            os.close(file)

    def entries(self) -> list[Entry]:
        """Read every line, in the order in which they were written.

        What stands behind the last line's end is still being written, and is left out.

        Raises:
            ValueError: a line is none of the ledger's.
        """
        if not self.path.exists():
            return []
        # A write that crosses a page of the file is seen in two steps by who reads meanwhile.
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [_read(line) for line in whole.decode().splitlines()]


class Stored(Struct, frozen=True):
    """A job as the store has it in the end."""

    key: str
    state: JobState
    ends: int
    """How often a terminal state was written for it."""


class Account(Struct, frozen=True):
    """What the ledger and the store say together; every list but `overrun` must be empty."""

    lost: list[str]
    """Acknowledged, or started, but not in the store."""
    unexpected: list[str]
    """In the store although nobody tried to enqueue it."""
    doubled: list[str]
    """In the store more than once."""
    unfinished: list[str]
    """Not in a terminal state."""
    not_run: list[str]
    """Succeeded although its task never came to its end."""
    resettled: list[str]
    """Ended with other than one settlement."""
    overrun: list[str]
    """Started more than once: allowed, since a job runs at least once, but counted."""

    @property
    def sound(self) -> bool:
        """Whether no promise was broken."""
        return not self._broken()

    def _broken(self) -> dict[str, list[str]]:
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: keys for name, keys in named.items() if keys and name != "overrun"}

    def __str__(self) -> str:
        told = [
            f"{len(keys)} {name}: {', '.join(keys[:_SHOWN])}"
            for name, keys in self._broken().items()
        ]
        return "; ".join(told) or f"sound, {len(self.overrun)} started more than once"


def judge(entries: Iterable[Entry], stored: Iterable[Stored]) -> Account:
    """Compare what happened with what the store says.

    An enqueue that was tried and not acknowledged may be there once or not at all.
    """
    counts = {word: Counter[str]() for word in get_args(Word)}
    for entry in entries:
        counts[entry.word][entry.key] += 1
    jobs = list(stored)
    there = Counter(job.key for job in jobs)
    due = counts["OK"].keys() | counts["START"].keys()
    known = counts["TRY"].keys() | counts["OK"].keys()
    return Account(
        lost=sorted(due - there.keys()),
        unexpected=sorted(there.keys() - known),
        doubled=sorted(key for key, count in there.items() if count > 1),
        unfinished=sorted(job.key for job in jobs if job.state not in TERMINAL),
        not_run=sorted(
            job.key
            for job in jobs
            if job.state is JobState.SUCCEEDED and not counts["END"][job.key]
        ),
        resettled=sorted(job.key for job in jobs if job.state in TERMINAL and job.ends != 1),
        overrun=sorted(key for key, count in counts["START"].items() if count > 1),
    )


def _read(line: str) -> Entry:
    match line.split():
        case [word, key, pid, at] if word in _WORDS and pid.isdecimal() and at.isdecimal():
            return Entry(cast("Word", word), key, int(pid), int(at))
        case _:
            raise ValueError(f"{line!r} is no line of a ledger")
