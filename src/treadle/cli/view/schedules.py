"""How do schedules and their ticks become tables and documents?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from treadle.cli.view.tables import Column, grid
from treadle.cli.view.text import number, relative, safe
from treadle.client.schedules.views import ScheduleInfo, Tick


def schedule_row(schedule: ScheduleInfo) -> dict[str, Any]:
    """Give all that is known of a schedule."""
    paused = schedule.paused
    return {
        "name": schedule.name,
        "task": schedule.task,
        "words": schedule.words,
        "queue": schedule.queue,
        "declared": schedule.declared,
        "paused": None
        if paused is None
        else {"at": paused.at, "note": paused.note, "by": paused.by},
        "next": schedule.next,
        "over": schedule.over,
        "sealed": schedule.sealed,
        "last_tick": schedule.last_tick,
        "last_job": schedule.last_job,
        "fired": schedule.fired,
        "missed": schedule.missed,
        "waiting": schedule.waiting,
        "skipping": schedule.skipping,
        "remaining": schedule.remaining,
        "misfire": schedule.misfire,
        "overlap": schedule.overlap,
    }


def tick_row(tick: Tick) -> dict[str, Any]:
    """Give a tick: its instant as its zone shows it, and what clock changes do to it."""
    return {"at": tick.at.isoformat(), "mark": tick.mark}


def schedules_table(schedules: Sequence[ScheduleInfo], now: datetime) -> Table:
    """Show schedules by name."""
    columns: tuple[Column, ...] = (
        ("SCHEDULE", "left", "fold"),
        ("TASK", "left", "fold"),
        ("WHEN", "left", "fold"),
        ("NEXT", "left", "whole"),
        ("FIRED", "right", "whole"),
        ("", "left", "fold"),
    )
    return grid(columns, (_cells(schedule, now) for schedule in schedules))


def _cells(schedule: ScheduleInfo, now: datetime) -> list[str | Text]:
    return [
        safe(schedule.name),
        safe(schedule.task),
        safe(schedule.words),
        "" if schedule.next is None else relative(schedule.next, now),
        number(schedule.fired),
        _remark(schedule),
    ]


def _remark(schedule: ScheduleInfo) -> Text:
    paused = schedule.paused
    if schedule.sealed:
        return Text("between two stores: give `treadle move` again", style="yellow")
    if paused is not None:
        by = f" by {paused.by}" if paused.by else ""
        note = f": {paused.note}" if paused.note else ""
        return Text(safe(f"paused{by}{note}"), style="yellow")
    if schedule.over:
        return Text("over", style="dim")
    said = []
    if schedule.skipping:
        said.append(f"skips {schedule.skipping}")
    if schedule.waiting:
        said.append(f"{schedule.waiting} waiting")
    if schedule.remaining is not None:
        said.append(f"{schedule.remaining} left")
    return Text(", ".join(said))


def ticks_table(ticks: Sequence[Tick], now: datetime) -> Table:
    """Show ticks with the face of their zone's clock, in words, and their marks."""
    columns: tuple[Column, ...] = (
        ("TICK", "left", "whole"),
        ("DAY", "left", "whole"),
        ("IN", "left", "whole"),
        ("", "left", "fold"),
    )
    return grid(
        columns,
        (
            [f"{t.at:%Y-%m-%d %H:%M:%S %z}", f"{t.at:%a}", relative(t.at, now), safe(t.mark)]
            for t in ticks
        ),
    )
