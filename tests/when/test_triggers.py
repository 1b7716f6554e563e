"""Intervals, single instants, zones, and what all triggers share."""

import doctest
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.errors import BadTrigger
from treadle.core.when import cron, triggers, words
from treadle.core.when.cron import Cron
from treadle.core.when.triggers import AnyTrigger, At, Every, read_trigger, write_trigger
from treadle.core.when.words import describe

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EACH: tuple[AnyTrigger, ...] = (
    Cron("0 9 * * *", tz="Europe/Paris", dst="twice"),
    Cron("H * * * *", name="a"),
    Every(30),
    Every(0.1, anchor=NOON),
    Every(timedelta(hours=6), name="b"),
    Every(5, after="end"),
    At(NOON),
)


@pytest.mark.parametrize("module", [cron, triggers, words], ids=lambda module: module.__name__)
def test_examples_of_the_docstrings(module: object) -> None:
    """What a docstring shows is what comes out."""
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 2
    assert result.failed == 0


@given(st.integers(1_000, 10**13), st.integers(0, 10**16), st.integers(-(10**16), 10**16))
def test_a_fixed_rate_counts_from_its_anchor(period: int, anchor: int, after: int) -> None:
    """What is next is the least instant after `after` that is a whole number of periods away."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    at, begin = (epoch + timedelta(microseconds=n) for n in (anchor, after))
    every = Every(timedelta(microseconds=period), anchor=at)
    first, second = every.next(begin, 2)
    assert begin < first <= begin + timedelta(microseconds=period)
    assert (first - at) % timedelta(microseconds=period) == timedelta()
    assert second - first == timedelta(microseconds=period)
    assert every.matches(first)
    assert not every.matches(first + timedelta(microseconds=1))


def test_a_fixed_rate_ignores_clock_changes() -> None:
    """A day is 24 hours, whatever clocks do on it."""
    paris = ZoneInfo("Europe/Paris")
    anchor = datetime(2026, 3, 28, 12, tzinfo=paris)
    assert Every(86_400, anchor=anchor).next(anchor)[0].astimezone(paris).hour == 13


def test_intervals_are_spread_by_name() -> None:
    """A thousand hourly schedules do not share a minute, and each keeps its own."""
    seconds = {Every(3_600).for_name(f"s{n}").next(NOON)[0] for n in range(1_000)}
    assert len(seconds) == 1_000
    assert Every(3_600).for_name("a") == Every(3_600, name="a")
    anchored = Every(3_600, anchor=NOON)
    assert anchored.for_name("a") == anchored


def test_a_delay_counts_from_the_end() -> None:
    """It has no ticks of its own, so nothing matches it."""
    delay = Every(5, after="end")
    assert delay.next(NOON, 2) == [NOON + timedelta(seconds=5), NOON + timedelta(seconds=10)]
    assert not delay.matches(NOON + timedelta(seconds=5))


def test_one_instant_is_due_once() -> None:
    """Before it there is one, at it and after it there is none."""
    at = At(NOON)
    assert at.next(NOON - timedelta(microseconds=1), 3) == [NOON]
    assert at.next(NOON) == []
    assert at.matches(NOON.astimezone(ZoneInfo("Asia/Tokyo")))
    assert not at.matches(NOON + timedelta(microseconds=1))


@pytest.mark.parametrize("trigger", EACH, ids=repr)
def test_triggers_can_be_stored(trigger: AnyTrigger) -> None:
    """What is read back is equal, and due at the same instants."""
    again = read_trigger(write_trigger(trigger))
    assert write_trigger(again) == write_trigger(trigger)
    eve = NOON - timedelta(days=1)
    assert again.next(eve, 3) == trigger.next(eve, 3)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"cron":"x"}', b'{"every":null}'])
def test_stored_bytes_that_are_no_trigger(raw: bytes) -> None:
    """A row that was changed by hand is an error that shows it."""
    with pytest.raises(BadTrigger, match="is no stored trigger"):
        read_trigger(raw)


@pytest.mark.parametrize("trigger", EACH, ids=repr)
def test_naive_instants_are_refused(trigger: AnyTrigger) -> None:
    """An instant without a zone names none."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="has no timezone"):
        trigger.next(naive)
    with pytest.raises(ValueError, match="has no timezone"):
        trigger.matches(naive)


@pytest.mark.parametrize("count", [0, -1, 10_001, 1.5, True])
@pytest.mark.parametrize("trigger", EACH[2:], ids=repr)
def test_counts_are_bounded(trigger: AnyTrigger, count: int) -> None:
    """Nobody gets a list without end."""
    with pytest.raises(ValueError, match="count must be an int from 1 to 10,000"):
        trigger.next(NOON, count)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "Europe", "../etc/passwd", "localtime", "a" * 10_000, "\x00"]
)
def test_unknown_zones_are_refused(zone: str) -> None:
    """Where the trigger is written, with what a zone's name looks like."""
    with pytest.raises(BadTrigger, match=r"no time zone is called .*'Europe/Paris'") as caught:
        Cron("@daily", tz=zone)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda: Every(0), ValueError, "at least 1 ms"),
        (lambda: Every(-1), ValueError, "between 0 s and 100 years"),
        (lambda: Every(5, after="middle"), ValueError, "'start' or 'end'"),  # type: ignore[arg-type]
        (lambda: Every(5, NOON, after="end"), ValueError, "has no anchor"),
        (lambda: Every(5, datetime(2026, 1, 1)), ValueError, "has no timezone"),  # noqa: DTZ001
        (lambda: Every("5"), TypeError, "must be seconds"),  # type: ignore[arg-type]
        (lambda: At("2026-01-01"), TypeError, "must be a datetime"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", dst="never"), ValueError, "'standard', 'skip' or 'twice'"),  # type: ignore[arg-type]
        (lambda: Cron(5), TypeError, "is a str"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", tz=5), TypeError, "name of a zone"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments(make: object, error: type[Exception], why: str) -> None:
    """The error names the argument, what it was and what it takes."""
    with pytest.raises(error, match=why):
        make()  # type: ignore[operator]


def test_the_years_at_both_ends_are_left_out() -> None:
    """No zone may lead out of what a datetime can hold."""
    with pytest.raises(ValueError, match="from the year 2 to the year 9998"):
        Cron("@daily").next(datetime(9999, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (Cron("@daily"), "at 00:00 (UTC)"),
        (Cron("* * * * *"), "every minute (UTC)"),
        (Cron("*/20 * * * *"), "at minute 0, 20, 40 (UTC)"),
        (Cron("*/30 * * * * *"), "at second 0, 30 of every minute (UTC)"),
        (Cron("5 6 13 * fri"), "at 06:05 on day 13 of the month or Fri (UTC)"),
        (Cron("0 0 */7 * mon"), "at 00:00 on day 1, 8, 15, 22, 29 of the month if it is Mon (UTC)"),
        (Cron("30 0 1 jan-mar,dec *"), "at 00:30 on day 1 of the month in Jan-Mar, Dec (UTC)"),
        (Cron("H 3 * * *"), "(spread by name)"),
        (Every(90), "every 0:01:30"),
        (Every(5, after="end"), "0:00:05 after the last job has ended"),
        (At(NOON), "once, at 2026-01-01 12:00:00+00:00"),
    ],
)
def test_triggers_in_words(trigger: AnyTrigger, said: str) -> None:
    """A list of schedules can be read without knowing cron."""
    assert describe(trigger).endswith(said)
