"""Spring and autumn: what a change of the clocks does to what is due."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.when.expressions import (
    CHANGES,
    EARLY,
    Field,
    changes,
    expression,
    walk,
)
from treadle.core.when.cron import Cron, Dst

RULES: Final[tuple[Dst, ...]] = ("standard", "skip", "twice")


def due(text: str, zone: str, day: str, dst: Dst = "standard") -> list[str]:
    """Give the local times, with offsets, at which an expression is due on one local day."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (begin + timedelta(days=1)).astimezone(UTC)
    cron = Cron(text, tz=zone, dst=dst)
    found = cron.next(begin.astimezone(UTC) - timedelta(microseconds=1), 100)
    return [f"{at:%H:%M%z}" for at in found if at < end]


@pytest.mark.parametrize(
    ("text", "standard", "skip"),
    [
        ("30 2 * * *", ["03:00+0200"], []),
        ("0,30 2 * * *", ["03:00+0200"], []),
        ("0,30 2,3 * * *", ["03:00+0200", "03:30+0200"], ["03:00+0200", "03:30+0200"]),
        ("*/30 2 * * *", [], []),
        ("30 * 29 * *", None, None),
    ],
)
def test_spring_in_paris(text: str, standard: list[str] | None, skip: list[str] | None) -> None:
    """At two it is three: a fixed time is due at three, once; a wildcard follows the wall."""
    hours = [f"{hour:02}:30+0{1 if hour < 2 else 2}00" for hour in range(24) if hour != 2]
    assert due(text, "Europe/Paris", "2026-03-29") == (hours if standard is None else standard)
    assert due(text, "Europe/Paris", "2026-03-29", "twice") == (
        hours if standard is None else standard
    )
    assert due(text, "Europe/Paris", "2026-03-29", "skip") == (hours if skip is None else skip)


@pytest.mark.parametrize(
    ("zone", "day", "text", "once", "twice"),
    [
        ("Europe/Paris", "2026-10-25", "30 2 * * *", ["02:30+0200"], ["02:30+0200", "02:30+0100"]),
        (
            "America/New_York",
            "2026-11-01",
            "5 1 * * *",
            ["01:05-0400"],
            ["01:05-0400", "01:05-0500"],
        ),
        ("America/Havana", "2026-11-01", "0 0 * * *", ["00:00-0400"], ["00:00-0400", "00:00-0500"]),
        (
            "Australia/Lord_Howe",
            "2026-04-05",
            "15,45 1 * * *",
            ["01:15+1100", "01:45+1100"],
            ["01:15+1100", "01:45+1100", "01:45+1030"],
        ),
    ],
)
def test_autumn(zone: str, day: str, text: str, once: list[str], twice: list[str]) -> None:
    """A fixed time of the repeated hour is due the first time; with `twice`, both times."""
    assert due(text, zone, day) == once
    assert due(text, zone, day, "skip") == once
    assert due(text, zone, day, "twice") == twice


def test_wildcards_follow_the_wall_clock_in_autumn() -> None:
    """An hour that is on the wall twice has its minutes twice."""
    found = due("*/30 2 * * *", "Europe/Paris", "2026-10-25")
    assert found == ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]


def test_lord_howe_moves_by_half_an_hour() -> None:
    """In spring the half hour from two is missing; in autumn that before two is there twice."""
    assert due("10,40 2 * * *", "Australia/Lord_Howe", "2026-10-04") == ["02:30+1100", "02:40+1100"]
    assert due("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-05")[-2:] == [
        "01:30+1030",
        "01:45+1030",
    ]


def test_a_midnight_that_does_not_exist() -> None:
    """In Beirut the day of the spring change begins at one; `@daily` is due then, once."""
    assert due("@daily", "Asia/Beirut", "2026-03-29") == ["01:00+0300"]
    assert due("@daily", "Asia/Beirut", "2026-03-29", "skip") == []


def test_a_change_of_two_hours() -> None:
    """At Troll all fixed times of both hours that are skipped are due once, at their end."""
    assert due("0,59 1,2 * * *", "Antarctica/Troll", "2026-03-29") == ["03:00+0200"]
    assert due("30 1,2 * * *", "Antarctica/Troll", "2026-10-25") == ["01:30+0200", "02:30+0200"]
    assert len(due("30 1,2 * * *", "Antarctica/Troll", "2026-10-25", "twice")) == len("1212")


def test_summer_time_that_ends_for_ramadan() -> None:
    """Morocco sets its clocks back in February and forward in March: once on each day."""
    assert due("30 2 * * *", "Africa/Casablanca", "2026-02-15") == ["02:30+0100"]
    assert due("30 2 * * *", "Africa/Casablanca", "2026-03-22") == ["03:00+0100"]


def test_a_leap_day_that_falls_on_a_sunday() -> None:
    """`*/7` is Sunday, and both days must match: the next ones are 28 years apart."""
    found = Cron("0 0 29 2 */7").next(datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), 2)
    assert [at.year for at in found] == [2032, 2060]


def test_a_day_that_does_not_exist() -> None:
    """Samoa left out a Friday: its job is due as the gap ends, when Saturday begins."""
    eve = datetime(2011, 12, 30, tzinfo=ZoneInfo("UTC"))
    found = Cron("0 9 30,31 12 *", tz="Pacific/Apia").next(eve, 2)
    assert [f"{at:%d %H:%M}" for at in found] == ["31 00:00", "31 09:00"]


@settings(max_examples=60)
@given(st.sampled_from(CHANGES), EARLY, st.sampled_from(RULES))
def test_a_look_each_minute_finds_the_same(
    change: tuple[str, datetime], fields: tuple[Field, ...], dst: Dst
) -> None:
    """Around a clock change exactly that is due which a look at the clock each minute finds."""
    name, day = change
    compare(name, day, fields, dst)


def compare(name: str, day: datetime, fields: tuple[Field, ...], dst: Dst) -> None:
    """Compare with the slow reading from six hours before the day to twelve after it."""
    begin = day - timedelta(hours=6)
    slow = walk(fields, ZoneInfo(name), begin, 42 * 60, dst)
    found = Cron(expression(fields), tz=name, dst=dst).next(begin, len(slow) + 1)
    assert [at.astimezone(UTC) for at in found[:-1]] == slow
    assert found[-1] > begin + timedelta(hours=42)


def every_change() -> Iterator[tuple[str, datetime]]:
    """Give one zone for each clock change that any zone makes in three years."""
    seen = set()
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    for name in sorted(available_timezones()):
        for day in changes(name, begin, 3 * 365):
            local = [
                (day + timedelta(hours=hours)).astimezone(ZoneInfo(name)).utcoffset()
                for hours in range(25)
            ]
            if (day, *local) not in seen:
                seen.add((day, *local))
                yield name, day


def test_every_zone() -> None:
    """Each different change of each IANA zone in three years is done right, by each rule."""
    every = list(every_change())
    assert len(every) > 40
    rest = [Field("*", frozenset(range(low, high + 1))) for low, high in ((1, 31), (1, 12), (0, 7))]
    minutes = Field("15,45", frozenset({15, 45}))
    fixed = (minutes, Field("0-4,23", frozenset({0, 1, 2, 3, 4, 23})), *rest)
    wall = (minutes, Field("*", frozenset(range(24))), *rest)
    for number, (name, day) in enumerate(every):
        compare(name, day, fixed, RULES[number % 3])
        compare(name, day, wall, "standard")


@settings(max_examples=200)
@given(
    st.sampled_from(CHANGES),
    EARLY,
    st.sampled_from(RULES),
    st.integers(0, 36 * 60 * 60 * 1_000_000),
)
def test_what_is_next_matches_and_nothing_lies_between(
    change: tuple[str, datetime], fields: tuple[Field, ...], dst: Dst, offset: int
) -> None:
    """From any microsecond: instants rise, each matches, and asking one by one gives the same."""
    name, day = change
    cron = Cron(expression(fields), tz=name, dst=dst)
    after = day + timedelta(microseconds=offset)
    found = [at.astimezone(UTC) for at in cron.next(after, 3)]
    assert after < found[0] < found[1] < found[2]
    assert all(cron.matches(at) for at in found)
    assert [at.astimezone(UTC) for at in cron.next(found[0])] == [found[1]]
    assert not cron.matches(found[0] + timedelta(microseconds=1))
