"""Retry policies: the delays they give, and the values they refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.durations import SECOND
from treadle.core.retry import DEFAULT_POLICY, JobPolicy, Retry, read_policy, write_policy


def delays(policy: JobPolicy, count: int) -> list[float]:
    """List the first delays in seconds, without chance."""
    return [policy.delay(n, lambda: 1.0) / SECOND for n in range(1, count + 1)]


def test_the_default_spreads_five_attempts_over_about_four_minutes() -> None:
    """The default waits 15, 30, 60 and 120 seconds before jitter."""
    assert delays(Retry().policy, 4) == [15, 30, 60, 120]


def test_exponential_stops_at_the_cap() -> None:
    """No delay is longer than the cap, however many attempts there were."""
    policy = Retry(base=1, cap=10, jitter=False).policy
    assert delays(policy, 6) == [1, 2, 4, 8, 10, 10]
    assert policy.delay(10_000, lambda: 0.0) == 10 * SECOND


def test_linear_and_constant() -> None:
    """Linear grows by the base, constant does not grow."""
    assert delays(Retry(backoff="linear", base=5, jitter=False).policy, 3) == [5, 10, 15]
    assert delays(Retry(backoff="constant", base=5, jitter=False).policy, 3) == [5, 5, 5]


def test_explicit_delays_repeat_their_last() -> None:
    """delays=[10, 60, 300] is a list by attempt; the last one repeats."""
    policy = Retry(delays=[10, timedelta(minutes=1), 300], jitter=False).policy
    assert delays(policy, 5) == [10, 60, 300, 300, 300]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 100))
def test_jitter_draws_from_the_upper_half(drawn: float, attempt: int) -> None:
    """A delay with jitter lies between a half and the whole of the one without."""
    full = JobPolicy(jitter=False).delay(attempt, lambda: 0.0)
    assert full / 2 - 1 <= JobPolicy().delay(attempt, lambda: drawn) <= full


def test_on_and_never_choose_errors() -> None:
    """Never wins over on; a class outside on is not tried again."""
    retry = Retry(on=(OSError,), never=(FileNotFoundError,))
    assert retry.retries(ConnectionError())
    assert not retry.retries(FileNotFoundError())
    assert not retry.retries(ValueError())


def test_a_single_class_is_taken_as_one_error() -> None:
    """on=ConnectionError means on=(ConnectionError,)."""
    assert Retry(on=ConnectionError).on == (ConnectionError,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"attempts": 0}, ValueError, "between 1 and 1,000"),
        ({"attempts": 1.5}, TypeError, "must be an int"),
        ({"attempts": True}, TypeError, "must be an int"),
        ({"backoff": "cubic"}, ValueError, "cubic"),
        ({"base": -1}, ValueError, "base"),
        ({"cap": float("nan")}, ValueError, "cap"),
        ({"delays": []}, ValueError, "at least one"),
        ({"delays": [-1]}, ValueError, "delays"),
        ({"on": ("ValueError",)}, TypeError, "exception classes"),
        ({"on_lost": "ignore"}, ValueError, "on_lost"),
    ],
)
def test_bad_values_are_refused(
    options: dict[str, object], error: type[Exception], says: str
) -> None:
    """A policy that makes no sense is an error where it is written."""
    with pytest.raises(error, match=says):
        Retry(**options)  # type: ignore[arg-type]


@given(
    st.builds(
        JobPolicy,
        backoff=st.sampled_from(["exponential", "linear", "constant"]),
        base=st.integers(0, 10**12),
        cap=st.integers(0, 10**12),
        jitter=st.booleans(),
        delays=st.none() | st.lists(st.integers(0, 10**12), min_size=1).map(tuple),
        on_lost=st.sampled_from(["retry", "fail"]),
        timeout=st.none() | st.integers(1, 10**12),
        keep=st.none() | st.integers(0, 10**12),
    )
)
def test_a_policy_travels_unchanged(policy: JobPolicy) -> None:
    """What is stored on the job is what was declared; all defaults are stored as nothing."""
    raw = write_policy(policy)
    assert (raw is None) == (policy == DEFAULT_POLICY)
    assert (read_policy(raw) or DEFAULT_POLICY) == policy


def test_a_damaged_policy_is_an_error() -> None:
    """Bytes that are no policy are not taken for one."""
    with pytest.raises(ValueError, match=r"JSON"):
        read_policy(b"\x80pickle")
