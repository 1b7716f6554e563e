"""Ids, durations, clocks: the small words that everything is written in."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.clock import MovedClock, SystemClock
from treadle.core.durations import as_datetime, instant_us, to_us
from treadle.core.ids import id_bytes, id_text, new_id


def test_ids_rise_and_are_uuids_of_version_7() -> None:
    """Ids made one after the other sort in that order and carry version and variant."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(raw[6] >> 4 == 7 and raw[8] >> 6 == 2 for raw in ids)


def test_an_id_carries_its_time() -> None:
    """The first 48 bits are the milliseconds of the wall clock (RFC 9562)."""
    before = SystemClock().wall() // 1000
    stamp = int.from_bytes(new_id()[:6], "big")
    # A burst of ids may have borrowed from the next milliseconds.
    assert before <= stamp <= before + 1_000


def test_a_fork_makes_other_ids() -> None:
    """Parent and child draw from different sources after a fork."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(new_id() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 1_600)
    os.close(read)
    os.close(write)
    ours = {new_id() for _ in range(100)}
    assert not ours & {theirs[i : i + 16] for i in range(0, len(theirs), 16)}


@given(st.binary(min_size=16, max_size=16))
def test_ids_travel_as_text(raw: bytes) -> None:
    """Text and bytes are two forms of one id, with or without dashes."""
    assert id_bytes(id_text(raw)) == raw == id_bytes(raw.hex())


@pytest.mark.parametrize("text", ["", "x", "12", "g" * 32, "0" * 33, "0" * 31])
def test_what_is_no_id_is_refused(text: str) -> None:
    """A text that is no id is an error that shows one."""
    with pytest.raises(ValueError, match="is not a job id"):
        id_bytes(text)


@given(st.floats(0, 3e9, allow_nan=False))
def test_seconds_become_microseconds(seconds: float) -> None:
    """A duration is rounded to the nearest microsecond."""
    assert abs(to_us(seconds, "x") - seconds * 1e6) <= 0.5 + seconds * 1e-9


def test_timedeltas_are_durations() -> None:
    """A timedelta is taken as exactly as it is written."""
    assert to_us(timedelta(days=1, microseconds=1), "x") == 86_400_000_001


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError),
        (timedelta(-1), ValueError), (1e12, ValueError), ("5", TypeError), (True, TypeError),
        (None, TypeError),
    ],
)  # fmt: skip
def test_bad_durations_are_refused(value: object, error: type[Exception]) -> None:
    """What is no duration is an error that names the parameter."""
    with pytest.raises(error, match="wait"):
        to_us(value, "wait")  # type: ignore[arg-type]


_WEST = timezone(timedelta(hours=-7))


@given(st.datetimes(max_value=datetime(9999, 12, 31), timezones=st.sampled_from([UTC, _WEST])))  # noqa: DTZ001 -- the zone is drawn apart
def test_instants_travel_through_microseconds(at: datetime) -> None:
    """An aware datetime and its microseconds name the same instant."""
    assert as_datetime(instant_us(at, "at")) == at


def test_an_instant_outside_the_calendar_is_refused() -> None:
    """An instant that UTC has no year for cannot be shown again, so it is not taken."""
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        instant_us(datetime(9999, 12, 31, 23, tzinfo=_WEST), "at")


@pytest.mark.parametrize("micros", [-(2**63), 2**63 - 1])
def test_a_damaged_instant_is_shown(micros: int) -> None:
    """Microseconds that no datetime holds become the nearest that one does."""
    assert as_datetime(micros).year in {1, 9999}


def test_a_naive_datetime_is_refused() -> None:
    """A datetime without a zone names no instant."""
    with pytest.raises(ValueError, match="no timezone"):
        instant_us(datetime(2026, 1, 1), "at")  # noqa: DTZ001 -- the point of the test
    with pytest.raises(TypeError, match="must be a datetime"):
        instant_us(5, "at")


def test_a_moved_clock_stands_still_until_moved() -> None:
    """Wall and monotonic time move together, and the wall clock may step alone."""
    clock = MovedClock(1_000_000)
    before = clock.monotonic()
    clock.move(1.5)
    assert (clock.wall(), clock.monotonic() - before) == (2_500_000, 1_500_000)
    clock.step_wall(-2_000_000)
    assert (clock.wall(), clock.monotonic() - before) == (500_000, 1_500_000)
