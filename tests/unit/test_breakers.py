"""`Breaker` and `hold=`: what is wrong is said where it is written, and what counts as failed."""

from collections.abc import Callable

import pytest

from treadle import Breaker, RetryLater, Snooze, Treadle
from treadle.core.durations import SECOND
from treadle.core.gates.gate import BREAKER, GateUse, read_gates


@pytest.mark.parametrize(
    "make",
    [
        lambda: Breaker("b", failures=0),
        lambda: Breaker("b", failures=101),
        lambda: Breaker("b", window=0),
        lambda: Breaker("b", window=32 * 86_400),
        lambda: Breaker("b", cool_down=0),
        lambda: Breaker("", failures=1),
        lambda: Breaker("b", key="{"),
        lambda: RetryLater("busy", hold="api"),
        lambda: RetryLater(delay=1, hold=""),
        lambda: Snooze(1, hold="x" * 201),
    ],
)
def test_values_out_of_range_are_refused(make: Callable[[], object]) -> None:
    """At once, with a text that says what may be written."""
    with pytest.raises(ValueError, match=r"must be|characters|template|delay"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Breaker(None),  # type: ignore[arg-type]
        lambda: Breaker("b", failures="5"),  # type: ignore[arg-type]
        lambda: Breaker("b", on="ConnectionError"),  # type: ignore[arg-type]
        lambda: Breaker("b", never=(OSError, 3)),  # type: ignore[arg-type]
        lambda: Snooze(1, hold=3),  # type: ignore[arg-type]
    ],
)
def test_values_of_another_type_are_refused(make: Callable[[], object]) -> None:
    """The error names what is wanted."""
    with pytest.raises(TypeError, match=r"name|int|exception classes|str"):
        make()


def test_a_job_carries_its_breaker() -> None:
    """With how many failures open it, in how long, and for how long."""
    app = Treadle("memory://")

    @app.task(name="pay", limits=Breaker("stripe", failures=3, window=20, cool_down=5, key="{who}"))
    def pay(who: int) -> None:
        del who

    uses = read_gates(pay.enqueue(7).record().gates)
    assert uses == [GateUse("stripe:7", BREAKER, 1, 3, 20 * SECOND, 5 * SECOND)]
    app.close()


def test_what_counts_is_named_by_type() -> None:
    """By default every `Exception`, never a signal; `never` wins over `on`."""
    assert Breaker("b").counts([ValueError()])
    assert not Breaker("b").counts([RetryLater()])
    assert Breaker("b", on=(RetryLater, OSError)).counts([RetryLater()])
    assert not Breaker("b", on=OSError, never=FileNotFoundError).counts([FileNotFoundError()])
    assert Breaker("b", on=OSError).counts([ValueError(), OSError()])
