"""Lanes: how a worker's queues are written, and how free slots are shared among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.lanes import Demand, Lanes, Share, check_queue


def take(demand: Demand, waiting: dict[str, int]) -> dict[str, int]:
    """Serve a demand from queues that hold so many jobs, as a store does."""
    got: dict[str, int] = {}
    left = demand.total
    for share in demand.shares:
        assert share.queue is not None
        n = min(share.limit, left, waiting[share.queue])
        waiting[share.queue] -= n
        got[share.queue] = got.get(share.queue, 0) + n
        left -= n
    return got


def test_no_queues_means_all_merged() -> None:
    """Without names a worker takes the best job of any queue."""
    assert Lanes.parse(None).demand(5) == Demand(5, (Share(None, 5),))


def test_names_alone_are_strict() -> None:
    """Names without weights are served in their order."""
    assert Lanes.parse("critical, bulk").demand(3).shares == (
        Share("critical", 3),
        Share("bulk", 3),
    )


@given(st.lists(st.integers(1, 300), min_size=20, max_size=60))
def test_weights_are_kept_over_time(batches: list[int]) -> None:
    """With a backlog everywhere each queue gets its share, to within one job a queue."""
    lanes = Lanes.parse("critical=6,default=3,bulk=1")
    got = dict.fromkeys(("critical", "default", "bulk"), 0)
    for batch in batches:
        for name, n in take(lanes.demand(batch), dict.fromkeys(got, 10**6)).items():
            got[name] += n
    whole = sum(batches)
    assert sum(got.values()) == whole
    for name, weight in (("critical", 6), ("default", 3), ("bulk", 1)):
        assert abs(got[name] - whole * weight / 10) <= 3


def test_single_slots_follow_the_weights_too() -> None:
    """A worker with one slot serves 6 : 3 : 1 as well."""
    lanes = Lanes.parse("a=6,b=3,c=1")
    got = dict.fromkeys("abc", 0)
    for _ in range(1_000):
        for name, n in take(lanes.demand(1), dict.fromkeys("abc", 10**6)).items():
            got[name] += n
    assert got == {"a": 600, "b": 300, "c": 100}


def test_an_empty_queue_s_share_goes_to_the_others() -> None:
    """No slot stays free while another queue has work."""
    lanes = Lanes.parse("a=9,b=1")
    assert take(lanes.demand(10), {"a": 0, "b": 100}) == {"a": 0, "b": 10}


def test_what_an_empty_queue_leaves_is_shared_by_weight() -> None:
    """With the heaviest queue empty, the others get three to one as their weights say."""
    lanes = Lanes.parse("a=3,b=1,idle=16")
    got = dict.fromkeys(("a", "b", "idle"), 0)
    for _ in range(2_000):
        for name, n in take(lanes.demand(10), {"a": 10**6, "b": 10**6, "idle": 0}).items():
            got[name] += n
    assert got["a"] + got["b"] == 20_000
    assert abs(got["a"] - 15_000) < 750


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no queue is named"),
        ("a=1,b", "give every queue a weight or none"),
        ("a,a", "named twice"),
        ("a=0", "must be 1 to"),
        ("a=x", "no whole weight"),
        ("a=", "no whole weight"),
        ("a=-1", "no whole weight"),
        ("a b", "not a queue name"),
        ("'; drop table jobs", "not a queue name"),
    ],
)
def test_bad_texts_are_refused(text: str, says: str) -> None:
    """What is not of the form is an error that shows it."""
    with pytest.raises(ValueError, match=says):
        Lanes.parse(text)


@pytest.mark.parametrize("name", ["", "-a", "a" * 101, "ä", "a\n", "{x}", "a/b"])
def test_bad_queue_names_are_refused(name: str) -> None:
    """Queue names keep to letters, digits and a few signs."""
    with pytest.raises(ValueError, match="not a queue name"):
        check_queue(name)
    assert check_queue("mail.high-1:eu") == "mail.high-1:eu"
