"""Expressions by chance, and a slow second reading of them to compare with."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MINUTE: Final = timedelta(minutes=1)


class Field(NamedTuple):
    """A field's text and the numbers it stands for, known by how it was made."""

    text: str
    numbers: frozenset[int]


def _plain(low: int, high: int) -> st.SearchStrategy[Field]:
    """Make a number or a range; what others read differently is left to tests that say so."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).filter(lambda two: two[0] < two[1])
    return st.one_of(
        number.map(lambda n: Field(str(n), frozenset({n}))),
        pair.map(lambda two: Field(f"{two[0]}-{two[1]}", frozenset(range(two[0], two[1] + 1)))),
    )


def _item(low: int, high: int) -> st.SearchStrategy[Field]:
    """Make one item of a list."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).filter(lambda two: two[0] < two[1])
    step = st.integers(1, high - low)
    return st.one_of(
        _plain(low, high),
        st.tuples(pair, step).map(
            lambda a: Field(
                f"{a[0][0]}-{a[0][1]}/{a[1]}", frozenset(range(a[0][0], a[0][1] + 1, a[1]))
            )
        ),
        step.map(lambda s: Field(f"*/{s}", frozenset(range(low, high + 1, s)))),
    )


def field(low: int, high: int) -> st.SearchStrategy[Field]:
    """Make a field: a star, or a list of one to three items."""
    star = st.just(Field("*", frozenset(range(low, high + 1))))
    items = st.lists(_item(low, high), min_size=1, max_size=3)
    return star | items.map(
        lambda parts: Field(
            ",".join(part.text for part in parts),
            frozenset().union(*(part.numbers for part in parts)),
        )
    )


FIELDS: Final = st.tuples(*(field(low, high) for low, high in RANGES))
EARLY: Final = st.tuples(field(0, 59), _plain(0, 4) | field(0, 23)).map(
    lambda two: (*two, *(Field("*", frozenset(range(low, high + 1))) for low, high in RANGES[2:]))
)
"""Times of day at which clocks are changed, on every date."""


def expression(fields: tuple[Field, ...]) -> str:
    """Write the fields as one expression."""
    return " ".join(each.text for each in fields)


def fits(fields: tuple[Field, ...], local: datetime) -> bool:
    """Tell whether a local time matches, by the words of crontab(5)."""
    minute, hour, day, month, weekday = fields
    days = local.day in day.numbers
    weekdays = bool({local.isoweekday(), local.isoweekday() % 7} & weekday.numbers)
    star = day.text.startswith("*") or weekday.text.startswith("*")
    return (
        local.minute in minute.numbers
        and local.hour in hour.numbers
        and local.month in month.numbers
        and ((days and weekdays) if star else (days or weekdays))
    )


def walk(
    fields: tuple[Field, ...], zone: ZoneInfo, begin: datetime, minutes: int, dst: str
) -> list[datetime]:
    """Give what is due in the minutes after `begin`, by looking at the clock each minute.

    Of a skipped hour each minute is looked at as well: what is fixed and due there is due when
    the gap ends.
    """
    wildcard = any(each.text.startswith("*") for each in fields[:2])
    found: list[datetime] = []
    last = begin.astimezone(zone).replace(tzinfo=None)
    for number in range(1, minutes + 1):
        instant = begin + number * _MINUTE
        here = instant.astimezone(zone)
        local = here.replace(tzinfo=None, fold=0)
        skipped = [last + n * _MINUTE for n in range(1, (local - last) // _MINUTE)]
        last = local
        again = bool(here.fold) and not wildcard and dst != "twice"
        late = not wildcard and dst != "skip" and any(fits(fields, each) for each in skipped)
        if late or (fits(fields, local) and not again):
            found.append(instant)
    return found


def changes(name: str, begin: datetime, days: int) -> list[datetime]:
    """Give the days, as midnights in UTC, in which a zone's offset changes."""
    zone, found = ZoneInfo(name), []
    last = begin.astimezone(zone).utcoffset()
    for number in range(1, days):
        offset = (begin + timedelta(days=number)).astimezone(zone).utcoffset()
        if offset != last:
            found.append(begin + timedelta(days=number - 1))
        last = offset
    return found


SINCE: Final = datetime(2012, 1, 1, tzinfo=UTC)
ZONES: Final = (
    *("Europe/Paris", "America/New_York", "Europe/Dublin", "Africa/Casablanca"),
    *("America/Santiago", "Asia/Gaza", "Asia/Beirut", "Pacific/Auckland", "America/Havana"),
)
"""Zones with changes at midnight, at one, two and three o'clock, north and south."""
CHANGES: Final = [(name, day) for name in ZONES for day in changes(name, SINCE, 15 * 365)]
