"""The command `treadle demo`: see jobs run, with nothing but the installed package.

It fills a SQLite file in a temporary folder with a few hundred jobs, of which some fail and are
retried and a few are rejected, runs a worker beside a live display, and compares the store with
what the tasks say they did. It ends by itself. The project's `make demo` is the larger one.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from treadle.app import Treadle
from treadle.cli.view.tables import STYLES, Column, console, grid, state_text
from treadle.cli.view.text import number, span
from treadle.context import Context, context
from treadle.core.job import JobState
from treadle.core.retry import Retry
from treadle.core.signals import Reject
from treadle.job import PAGE_MAX, Job
from treadle.worker.worker import Worker

_MAIL, _FETCH, _CHARGE = 240, 120, 40
TOTAL: Final = _MAIL + _FETCH + _CHARGE
_DOWN_EVERY: Final = 4
_EXPIRED_EVERY: Final = 10
_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.1
_PLAIN_LOOKS: Final = 10
"""Looks between two plain lines when the output is no terminal."""
_SHOWN: Final = (
    JobState.READY,
    JobState.RUNNING,
    JobState.RETRYING,
    JobState.SUCCEEDED,
    JobState.FAILED,
)


class _Shop:
    """The demo's tasks, and how often each job's code really ran."""

    def __init__(self, app: Treadle) -> None:
        self.ran: Counter[str] = Counter()
        self.mail = app.task(name="demo.send_mail")(self._mail)
        self.fetch = app.task(name="demo.fetch_rate", retry=Retry(attempts=4, base=1.5))(
            self._fetch
        )
        self.charge = app.task(name="demo.charge_card")(self._charge)

    async def _mail(self, to: str, ctx: Context = context()) -> str:  # noqa: B008 -- a marker
        self.ran[ctx.job.id] += 1
        await asyncio.sleep(0.15)
        return f"sent to {to}"

    def _fetch(self, pair: int, ctx: Context = context()) -> float:  # noqa: B008 -- a marker
        self.ran[ctx.job.id] += 1
        time.sleep(0.05)
        if pair % _DOWN_EVERY == 0 and ctx.attempt == 1:
            raise ConnectionError(f"the rate server did not answer for pair {pair}")
        return 1.0 + pair / 100

    async def _charge(self, card: int, ctx: Context = context()) -> None:  # noqa: B008 -- a marker
        self.ran[ctx.job.id] += 1
        await asyncio.sleep(0.1)
        if card % _EXPIRED_EVERY == 0:
            raise Reject(f"card {card} has expired")

    def fill(self) -> None:
        """Enqueue every job."""
        self.mail.enqueue_many((f"customer-{each}@example.com",) for each in range(_MAIL))
        self.fetch.enqueue_many((each,) for each in range(_FETCH))
        self.charge.enqueue_many((each,) for each in range(_CHARGE))


@click.command()
def demo() -> None:
    """Watch a few hundred jobs run, fail and end, within 15 s."""
    out = console()
    url = f"sqlite:///{Path(tempfile.mkdtemp(prefix='treadle-demo-'), 'demo.db')}"
    app = Treadle(url)
    # The failures are part of the show; the display counts them, so the log need not.
    logging.getLogger("treadle.job").addHandler(logging.NullHandler())
    try:
        shop = _Shop(app)
        shop.fill()
        click.echo(f"{number(TOTAL)} jobs are stored in {url}")
        click.echo("One worker with 16 slots runs them; some fail at first and are retried.\n")
        began = time.monotonic()
        asyncio.run(_work(app, out))
        seconds = time.monotonic() - began
        agrees = _ledger(out, _every_job(app), shop.ran, seconds)
    finally:
        app.close()
    _farewell(url)
    if not agrees:
        raise click.ClickException("the ledger does not agree with the store; see above")


async def _work(app: Treadle, out: Console) -> None:
    """Run a worker beside the display until every job has ended."""
    async with Worker(app, concurrency=16):
        if not out.is_terminal:
            await _say_how_far(app)
            return
        with Live(_display({}), console=out, refresh_per_second=12, transient=False) as live:
            async for counts in _looks(app):
                live.update(_display(counts))


async def _say_how_far(app: Treadle) -> None:
    """Print a line now and then, and one at the end."""
    looks = 0
    async for counts in _looks(app):
        if looks % _PLAIN_LOOKS == 0 or _ended(counts) == TOTAL:
            click.echo(_plain(counts))
        looks += 1


async def _looks(app: Treadle) -> AsyncIterator[dict[str, int]]:
    """Count the jobs by state, ten times a second, until all have ended or the time is over."""
    for _ in range(int(_LIMIT_S / _LOOK_S)):
        counts = await app.queues.acounts()
        yield counts
        if _ended(counts) >= TOTAL:
            return
        await asyncio.sleep(_LOOK_S)
    raise click.ClickException(f"the jobs have not ended within {_LIMIT_S:g} s")


def _ended(counts: dict[str, int]) -> int:
    return sum(count for state, count in counts.items() if JobState(state).is_terminal)


def _plain(counts: dict[str, int]) -> str:
    said = ", ".join(f"{counts[state]} {state}" for state in _SHOWN if counts.get(state))
    return f"{_ended(counts)} of {TOTAL} jobs have ended: {said}"


def _display(counts: dict[str, int]) -> Group:
    """Draw a bar for the whole and the number of jobs in each state."""
    whole = Table.grid(padding=(0, 1))
    done = _ended(counts)
    whole.add_row(ProgressBar(total=TOTAL, completed=done, width=50), f"{done} of {TOTAL}")
    states = Table.grid(padding=(0, 3))
    states.add_row(
        *(Text(f"{counts.get(state, 0):>3} {state}", style=STYLES[state]) for state in _SHOWN)
    )
    return Group(whole, states)


def _every_job(app: Treadle) -> list[Job[Any]]:
    return app.jobs(limit=min(2 * TOTAL, PAGE_MAX))


def _ledger(out: Console, jobs: list[Job[Any]], ran: Counter[str], seconds: float) -> bool:
    """Show what the store says beside what the tasks counted; tell whether they agree."""
    columns: tuple[Column, ...] = (
        ("LEDGER", "left", "whole"),
        ("JOBS", "right", "whole"),
        ("", "left", "fold"),
    )
    states = Counter(job.state for job in jobs)
    retried = sum(1 for job in jobs if job.attempt > 1)
    never = sum(1 for job in jobs if not ran[job.id])
    counts_differ = [job.id for job in jobs if ran[job.id] != job.attempt]
    rows: list[tuple[str | Text, str, str]] = [
        ("enqueued", number(TOTAL), ""),
        (state_text(JobState.SUCCEEDED), number(states[JobState.SUCCEEDED]), "results are stored"),
        (
            state_text(JobState.FAILED),
            number(states[JobState.FAILED]),
            "dead letters: cards that have expired",
        ),
        ("retried", number(retried), "failed once, succeeded at the second attempt"),
        ("lost", number(TOTAL - len(jobs) + never), "stored, but never run"),
    ]
    click.echo(f"\nAll jobs ended after {span(seconds)}.\n")
    out.print(grid(columns, rows))
    return len(jobs) == TOTAL and not never and not counts_differ


def _farewell(url: str) -> None:
    click.echo(
        "\nThe jobs are still there. Look at them:\n"
        f"  treadle jobs ls --store {url}\n"
        f"  treadle dead ls --store {url}\n"
        f"  treadle jobs show --store {url} ID\n"
        "and see `treadle --help` for the rest."
    )
