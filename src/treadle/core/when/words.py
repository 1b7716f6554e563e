"""A trigger in words, for people who read lists of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from treadle.core.when import fields
from treadle.core.when.cron import Cron
from treadle.core.when.parse import Expression, parse
from treadle.core.when.triggers import AnyTrigger, At, Every

_TIMES_SHOWN: Final = 4
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_WEEKDAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_EVERY_DAY: Final = 0xFFFFFFFE
_EVERY_MONTH: Final = 0x1FFE
_EVERY_WEEKDAY: Final = 0x7F


def describe(trigger: AnyTrigger) -> str:
    """Say in words when a trigger is due.

    >>> describe(Cron("30 9 * * mon-fri", tz="Europe/Paris"))
    'at 09:30 on Mon-Fri (Europe/Paris)'
    >>> describe(Cron("*/10 8-18 1,15 jun *"))
    'at minute 0, 10, 20, 30, 40, 50 of hour 8-18 on day 1, 15 of the month in Jun (UTC)'
    >>> describe(Every(90))
    'every 0:01:30'
    """
    if isinstance(trigger, Every):
        period = timedelta(microseconds=trigger.period_us)
        if trigger.after == "end":
            return f"{period} after the last job has ended"
        return f"every {period}"
    if isinstance(trigger, At):
        return f"once, at {trigger.instant.isoformat(sep=' ')}"
    return _describe_cron(trigger)


def _describe_cron(trigger: Cron) -> str:
    read = parse(trigger.expression, trigger.name or "")
    spread = " (spread by name)" if read.spread and trigger.name is None else ""
    parts = [_time(read), _day(read), _month(read), f"({trigger.tz})"]
    return " ".join(part for part in parts if part) + spread


def _time(read: Expression) -> str:
    hours, minutes, seconds = map(_numbers, (read.hours, read.minutes, read.seconds))
    if len(hours) * len(minutes) * len(seconds) <= _TIMES_SHOWN:
        tails = [f":{second:02}" if read.seconds != 1 else "" for second in seconds]
        times = [f"{hour:02}:{minute:02}{t}" for hour in hours for minute in minutes for t in tails]
        return "at " + ", ".join(times)
    parts = [
        _part("second", seconds, fields.SECOND) if read.seconds != 1 else "",
        _part("minute", minutes, fields.MINUTE),
        _part("hour", hours, fields.HOUR) if len(hours) <= fields.HOUR.high else "",
    ]
    said = " of ".join(part for part in parts if part)
    return said if said.startswith("every") else f"at {said}"


def _part(name: str, numbers: Sequence[int], field: fields.Field) -> str:
    if len(numbers) == field.high - field.low + 1:
        return f"every {name}"
    return f"{name} {_ranges(numbers)}"


def _day(read: Expression) -> str:
    days = "" if read.days == _EVERY_DAY else f"day {_ranges(_numbers(read.days))} of the month"
    weekdays = (
        ""
        if read.weekdays == _EVERY_WEEKDAY
        else _ranges(_numbers(read.weekdays), dict(enumerate(_WEEKDAYS)))
    )
    if days and weekdays:
        return f"on {days} if it is {weekdays}" if read.both_days else f"on {days} or {weekdays}"
    return f"on {days or weekdays}" if days or weekdays else ""


def _month(read: Expression) -> str:
    if read.months == _EVERY_MONTH:
        return ""
    return f"in {_ranges(_numbers(read.months), dict(enumerate(_MONTHS, start=1)))}"


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def _ranges(numbers: Sequence[int], names: dict[int, str] | None = None) -> str:
    """Write numbers with runs of three or more drawn together: 1, 3, 8-18."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    said = []
    for run in runs:
        first, *rest = [names[number] if names else str(number) for number in run]
        said += [f"{first}-{rest[-1]}"] if len(rest) > 1 else [first, *rest]
    return ", ".join(said)
