"""What the demo shows: headings, sentences, tables, and bars that move while jobs run.

On a terminal the bars are redrawn in place; elsewhere (a pipe, a build's log) a plain line is
printed now and then. Nothing is decided here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

Counts = Mapping[str, Mapping[str, int]]
"""For each queue, how many jobs are in each state."""

ENDED: Final = ("succeeded", "failed", "cancelled", "expired")
_PLAIN_EVERY_S: Final = 2.0
_PLAIN_WIDTH: Final = 100


class Screen:
    """The terminal or the file that the demo prints to."""

    def __init__(self, console: Console | None = None) -> None:
        if console is None:
            console = Console(highlight=False)
            if not console.is_terminal:
                console = Console(highlight=False, width=_PLAIN_WIDTH)
        self._console = console

    def heading(self, text: str) -> None:
        """Print what comes next."""
        self._console.print()
        self._console.print(Text(text, "bold"))

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._console.print(Padding(Text(text, style), (0, 0, 0, 2)))

    def command(self, words: str, meaning: str) -> None:
        """Print a command in one piece, so that it can be copied, with what it does."""
        self._console.print(Text(f"  # {meaning}", "dim"), soft_wrap=True)
        self._console.print(Text(f"  {words}", "cyan"), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table; columns whose heading begins with '#' hold numbers."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            number = column.startswith("#")
            table.add_column(column.removeprefix("#"), justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(Padding(table, (0, 0, 0, 2)))

    @contextmanager
    def bars(self, totals: Mapping[str, int]) -> Iterator[Bars]:
        """Show a bar for each queue while the block runs; a total is how many jobs it has."""
        if not self._console.is_terminal:
            bars = Bars(totals, self._console)
            yield bars
            bars.print_plainly()
            return
        with Progress(
            TextColumn("  {task.description:<8}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            refresh_per_second=10,
        ) as progress:
            yield Bars(totals, self._console, progress)


class Bars:
    """The progress of some queues."""

    def __init__(
        self, totals: Mapping[str, int], console: Console, progress: Progress | None = None
    ) -> None:
        self._totals = totals
        self._console = console
        self._progress = progress
        self._texts = dict.fromkeys(totals, "")
        self._said: dict[str, str] = {}
        self._printed = time.monotonic()
        self._ids = {}
        if progress is not None:
            self._ids = {
                queue: progress.add_task(queue, total=total, text="")
                for queue, total in totals.items()
            }

    def show(self, counts: Counts) -> None:
        """Show where the queues stand now."""
        for queue, total in self._totals.items():
            states = counts.get(queue, {})
            done = ended(counts, queue)
            self._texts[queue] = describe(states, done, total)
            if self._progress is not None:
                self._progress.update(self._ids[queue], completed=done, text=self._texts[queue])
        if self._progress is None and time.monotonic() - self._printed > _PLAIN_EVERY_S:
            self.print_plainly()

    def print_plainly(self) -> None:
        """Print a line for each queue."""
        self._printed = time.monotonic()
        for queue, text in self._texts.items():
            if text != self._said.get(queue):
                self._said[queue] = text
                self._console.print(f"  {queue:<8} {text}")


def describe(states: Mapping[str, int], done: int, total: int) -> str:
    """Put a queue's counts into words."""
    words = [f"{done:>5,} of {total:,} ended"]
    if running := states.get("running"):
        words.append(f"{running} running")
    if retrying := states.get("retrying"):
        words.append(f"{retrying} to be tried again")
    if dead := states.get("failed"):
        words.append(several(dead, "dead letter"))
    return ", ".join(words)


def several(count: int, noun: str) -> str:
    """Count something in words: 1 mail, 2 mails."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def ended(counts: Counts, queue: str) -> int:
    """Count the jobs of a queue that have ended."""
    states = counts.get(queue, {})
    return sum(states.get(state, 0) for state in ENDED)
