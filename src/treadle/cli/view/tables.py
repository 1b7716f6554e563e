"""How do lists become tables that a person likes to read?

Colours only on a terminal; ids are never shortened, because people copy them; everything that
came from outside goes through `safe` and stands in `Text`, so that no markup is read in it.
When the output is no terminal nothing is wrapped, so that `grep` sees whole rows.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from treadle.cli.view.text import cut, number, relative, safe, span
from treadle.client.views import DeadGroup, QueueInfo, WorkerState
from treadle.core.job import JobState
from treadle.job import Job

_UNBOUNDED: Final = 1_000
"""Columns that a table may take when nobody looks at it on a terminal."""
WIDE: Final = 100
"""Columns from which a table of jobs shows everything."""
_ERROR_MAX: Final = 120

STYLES: Final = {
    JobState.BLOCKED: "dim",
    JobState.SCHEDULED: "magenta",
    JobState.READY: "blue",
    JobState.RUNNING: "cyan",
    JobState.RETRYING: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "dim",
    JobState.EXPIRED: "dim",
}

Column = tuple[str, Literal["left", "right"], Literal["whole", "fold"]]


def console() -> Console:
    """Make the console for standard output as it is now."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_UNBOUNDED, file=_NoTrailingSpace())


class _NoTrailingSpace(io.StringIO):
    """Standard output without the blanks that a table puts behind its last column."""

    def write(self, text: str, /) -> int:
        """Pass whole lines on; a table is written at once, so no line comes in parts."""
        click.echo("\n".join(line.rstrip() for line in text.split("\n")), nl=False)
        return len(text)


def state_text(state: JobState | str) -> Text:
    """Write a state in its colour."""
    return Text(str(state), style=STYLES.get(JobState(state), ""))


def grid(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Lay rows out below their headings; a `whole` column is never broken."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, justify, breaking in columns:
        table.add_column(
            title, justify=justify, no_wrap=breaking == "whole", overflow="fold", min_width=4
        )
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def jobs_table(jobs: Sequence[Job[Any]], width: int) -> Table:
    """Show jobs, one a row; without their queues where `width` leaves no room for them."""
    columns: list[Column] = [
        ("ID", "left", "whole"),
        ("STATE", "left", "whole"),
        ("TASK", "left", "fold"),
        ("QUEUE", "left", "fold"),
        ("ATTEMPT", "right", "whole"),
        ("WHEN", "left", "whole"),
    ]
    hidden = () if width >= WIDE else (3,)
    rows = (
        (
            job.id,
            state_text(job.state),
            safe(job.task),
            safe(job.queue),
            f"{job.attempt}/{job.attempts_max}",
            when(job),
        )
        for job in jobs
    )
    shown = [place for place in range(len(columns)) if place not in hidden]
    return grid(
        [columns[place] for place in shown], ([row[place] for place in shown] for row in rows)
    )


def dead_table(jobs: Sequence[Job[Any]]) -> Table:
    """Show dead letters with what they died of."""
    columns: tuple[Column, ...] = (
        ("ID", "left", "whole"),
        ("TASK", "left", "fold"),
        ("REASON", "left", "fold"),
        ("ERROR", "left", "fold"),
        ("DIED", "left", "whole"),
    )
    return grid(
        columns,
        (
            (
                job.id,
                safe(job.task),
                Text(safe(cut(job.reason or "", _ERROR_MAX)), style="yellow"),
                Text(error_line(job), style="red"),
                when(job),
            )
            for job in jobs
        ),
    )


def groups_table(groups: Sequence[DeadGroup], now: datetime) -> Table:
    """Show groups of dead letters, the largest first."""
    columns: tuple[Column, ...] = (
        ("COUNT", "right", "whole"),
        ("TASK", "left", "fold"),
        ("REASON", "left", "fold"),
        ("ERROR", "left", "fold"),
        ("NEWEST", "left", "whole"),
    )
    return grid(
        columns,
        (
            (
                number(group.count),
                safe(group.task),
                Text(safe(cut(group.reason, _ERROR_MAX)), style="yellow"),
                Text(safe(group.error), style="red"),
                relative(group.newest, now),
            )
            for group in groups
        ),
    )


def queues_table(queues: Sequence[QueueInfo], now: datetime) -> Table:
    """Show queues with the number of their jobs in each state that occurs."""
    states = [state for state in JobState if any(queue.counts.get(state) for queue in queues)]
    columns: list[Column] = [("QUEUE", "left", "fold"), ("", "left", "whole")]
    columns.extend((state.upper(), "right", "whole") for state in states)
    columns.append(("OLDEST READY", "left", "whole"))
    return grid(columns, (_queue_cells(queue, states, now) for queue in queues))


def _queue_cells(queue: QueueInfo, states: list[JobState], now: datetime) -> list[str | Text]:
    counts = [queue.counts.get(state, 0) for state in states]
    oldest = "" if queue.oldest_ready is None else relative(queue.oldest_ready, now)
    return [
        safe(queue.name),
        Text("paused" if queue.paused else "", style="yellow"),
        *(
            Text(number(count), style=STYLES[state] if count else "dim")
            for state, count in zip(states, counts, strict=True)
        ),
        oldest,
    ]


def workers_table(workers: Sequence[WorkerState], now: datetime) -> Table:
    """Show registered workers; one that has not beaten for long is in red."""
    columns: tuple[Column, ...] = (
        ("WORKER", "left", "whole"),
        ("RUNNING", "right", "whole"),
        ("QUEUES", "left", "fold"),
        ("STARTED", "left", "whole"),
        ("LAST BEAT", "left", "whole"),
    )
    return grid(columns, (_worker_cells(worker, now) for worker in workers))


_LATE_S: Final = 5.0


def _worker_cells(worker: WorkerState, now: datetime) -> list[str | Text]:
    age = worker.beat_age
    late = age is None or age > _LATE_S
    beat = "unknown" if age is None else f"{span(age, brief=True)} ago"
    return [
        safe(worker.id),
        f"{worker.running}/{worker.slots}",
        "all" if worker.queues is None else safe(", ".join(worker.queues)),
        relative(worker.started_at, now),
        Text(beat, style="red" if late else "green"),
    ]


def when(job: Job[Any]) -> str:
    """Say the time that matters in a job's state."""
    now = job.as_of
    match job.state:
        case JobState.SCHEDULED | JobState.RETRYING:
            return relative(job.run_at, now)
        case JobState.READY:
            return f"waits {span((now - job.run_at).total_seconds(), brief=True)}"
        case JobState.RUNNING if job.started_at is not None:
            return f"for {span((now - job.started_at).total_seconds(), brief=True)}"
        case _:
            return relative(job.finished_at or job.created_at, now)


def error_line(job: Job[Any]) -> str:
    """Write a job's error on one line."""
    error = job.error
    if error is None:
        return ""
    message = " ".join(error.message.split())
    return safe(cut(f"{error.type}: {message}" if message else error.type, _ERROR_MAX))


def utc_now() -> datetime:
    """Read the clock against which ages are shown."""
    return datetime.now(UTC)
