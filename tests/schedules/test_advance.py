"""advance: which ticks become jobs, compared with a slow reading of the rules."""
# ruff: noqa: ANN401 -- the options are those of a schedule, which checks them.

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from treadle.core.durations import HOUR, MINUTE, SECOND, instant_us
from treadle.core.schedule.advance import WAITING_MAX, Advanced, Last, advance, begin
from treadle.core.schedule.record import (
    MISFIRES,
    OVERLAPS,
    Pause,
    Plan,
    Schedule,
    read_schedule,
    write_schedule,
)
from treadle.core.schedule.ticks import (
    TICKS_MAX,
    due_ticks,
    next_tick,
    tick_id,
    tick_job,
    ticks_between,
    trigger_of,
)
from treadle.core.when.cron import Cron
from treadle.core.when.triggers import AnyTrigger, Every, write_trigger

NOW: Final = instant_us(datetime(2026, 3, 2, 12, tzinfo=UTC), "now")
EACH_MINUTE: Final = Cron("* * * * *")
ENDED: Final = Last()
LIVE: Final = Last(live=True)


def schedule(trigger: AnyTrigger = EACH_MINUTE, **options: Any) -> Schedule:
    """Make a schedule that begins now."""
    said = {"trigger": write_trigger(trigger), "task": "t", "args": b"[]"} | options
    plan = Plan(**said)
    return begin(Schedule(name="a", plan=plan, incarnation="i", cursor=NOW), NOW).schedule


def go(minutes: Sequence[int], last: Last = ENDED, **options: Any) -> list[tuple[int, ...]]:
    """Advance at these minutes; give the ticks that fire at each, as minutes."""
    found, fired = schedule(**options), []
    for minute in minutes:
        advanced = advance(found, NOW + minute * MINUTE, last)
        found = advanced.schedule
        fired.append(tuple((tick - NOW) // MINUTE for tick in advanced.ticks))
    return fired


def test_a_tick_fires_once() -> None:
    """Looked at again in the same minute, or in one before, nothing fires."""
    assert go([0, 1, 1, 0, 1, 2]) == [(), (1,), (), (), (), (2,)]


@pytest.mark.parametrize(
    ("misfire", "fires"), [("one", [(5,), (9,)]), ("all", [(1, 2, 3, 4, 5), (6, 7, 8, 9)])]
)
def test_missed_ticks(misfire: str, fires: list[tuple[int, ...]]) -> None:
    """`one` fires the newest of those that are due, `all` each of them."""
    assert go([5, 9], misfire=misfire, overlap="allow") == fires


def test_a_tick_that_is_too_late() -> None:
    """`skip` takes the newest tick when it is on time: within the grace, else within a minute."""
    late = Cron("0 * * * *")
    assert go([60 + 1], trigger=late, misfire="skip") == [(60,)]
    assert go([60 + 2], trigger=late, misfire="skip") == [()]
    assert go([60 + 2], trigger=late, misfire="skip", grace=2 * MINUTE) == [(60,)]
    assert go([60 + 3], trigger=late, misfire="one", grace=2 * MINUTE) == [()]
    assert go([5], misfire="all", grace=2 * MINUTE, overlap="allow") == [(3, 4, 5)]


def test_ticks_that_the_grace_drops_are_counted() -> None:
    """Each look at which some were too late counts as missed, so nobody wonders where they are."""
    advanced = advance(schedule(grace=10 * SECOND), NOW + 5 * MINUTE + 30 * SECOND, ENDED)
    assert (advanced.ticks, advanced.schedule.missed) == ((), 1)
    advanced = advance(schedule(grace=10 * SECOND), NOW + MINUTE + SECOND, ENDED)
    assert (len(advanced.ticks), advanced.schedule.missed) == (1, 0)


def test_a_jitter_beyond_the_next_tick() -> None:
    """A job that expires by the next tick has the one after its own late start."""
    job = tick_job("n", schedule(jitter=10 * MINUTE, expires="next"), NOW + MINUTE)
    assert job.at is not None
    assert job.expires_at is not None
    assert job.at < job.expires_at <= job.at + MINUTE


def test_catching_up_is_bounded() -> None:
    """A page of ticks fires at once, and the schedule stays due for the others."""
    begun = schedule(misfire="all", overlap="allow")
    first = advance(begun, NOW + 250 * MINUTE, ENDED)
    assert len(first.ticks) == TICKS_MAX
    assert first.due == NOW + (TICKS_MAX + 1) * MINUTE
    found, rest = first.schedule, 0
    for _ in range(3):
        advanced = advance(found, NOW + 250 * MINUTE, ENDED)
        found, rest = advanced.schedule, rest + len(advanced.ticks)
    assert rest == 150


def test_years_of_missed_ticks_cost_nothing() -> None:
    """The newest of a billion ticks is found by halving."""
    every_second = Every(1, anchor=datetime(2026, 1, 1, tzinfo=UTC))
    late = advance(schedule(every_second), NOW + 30 * 365 * 24 * HOUR + 1, ENDED)
    assert late.ticks == (NOW + 30 * 365 * 24 * HOUR,)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 500))
def test_the_last_tick_is_the_last(after: int, length: int, period: int) -> None:
    """Halving finds what walking finds."""
    trigger = Every(period / 1_000)
    walked = ticks_between(trigger, after * 1_000, (after + length) * 1_000, 1_000_000)
    found = due_ticks(trigger, after * 1_000, (after + length) * 1_000)
    assert (found.first, found.last) == ((walked[0], walked[-1]) if walked else (None, None))
    assert found.following == next_tick(trigger, (after + length) * 1_000)


@pytest.mark.parametrize(
    ("overlap", "fires", "waiting"),
    [
        ("skip", [(), (), ()], 0),
        ("allow", [(1,), (2,), (3,)], 0),
        ("queue_one", [(), (), ()], 1),
        ("queue_all", [(), (), ()], 3),
        ("cancel_running", [(1,), (2,), (3,)], 0),
    ],
)
def test_overlap(overlap: str, fires: list[tuple[int, ...]], waiting: int) -> None:
    """What a tick does while the last job lives."""
    assert go([1, 2, 3], LIVE, overlap=overlap) == fires
    found = schedule(overlap=overlap)
    for minute in (1, 2, 3):
        advanced = advance(found, NOW + minute * MINUTE, LIVE)
        assert advanced.cancel is (overlap == "cancel_running")
        found = advanced.schedule
    assert len(found.waiting) == waiting
    if waiting:
        advanced = advance(found, NOW + 3 * MINUTE + 1, ENDED)
        # The one that waited longest goes first, and the next look is soon.
        assert advanced.ticks == (NOW + MINUTE,)


def test_what_waits_is_bounded() -> None:
    """A job that never ends does not fill the record."""
    found = replace(schedule(overlap="queue_all", misfire="all"), waiting=tuple(range(WAITING_MAX)))
    advanced = advance(found, NOW + 5 * MINUTE, LIVE)
    assert len(advanced.schedule.waiting) == WAITING_MAX
    assert advanced.schedule.missed == 5


def test_limit_start_end_and_skip() -> None:
    """They bound which ticks become jobs, and after the last one nothing is due."""
    advanced = advance(schedule(limit=2, misfire="all", overlap="allow"), NOW + 5 * MINUTE, ENDED)
    assert len(advanced.ticks) == 2
    assert advanced.schedule.over
    assert advanced.due is None
    windowed: dict[str, Any] = {"starts": NOW + 3 * MINUTE, "ends": NOW + 5 * MINUTE}
    assert go([2, 4, 9], misfire="all", overlap="allow", **windowed) == [(), (3, 4), (5,)]
    skipping = replace(schedule(overlap="allow"), skip=2)
    for minute, ticks in ((1, 0), (2, 0), (3, 1)):
        advanced = advance(skipping, NOW + minute * MINUTE, ENDED)
        skipping = advanced.schedule
        assert len(advanced.ticks) == ticks


def test_a_paused_schedule_is_not_due() -> None:
    """Nothing fires, and it is not looked at until somebody resumes it."""
    paused = replace(schedule(), paused=Pause(NOW))
    assert advance(paused, NOW + HOUR, ENDED) == Advanced(paused)
    assert begin(replace(paused, paused=None), NOW + HOUR).due == NOW + HOUR


def test_a_fixed_delay() -> None:
    """It counts from the end of the last job, and looks once a second while that lives."""
    found = schedule(Every(60, after="end"))
    assert advance(found, NOW + 59 * SECOND, ENDED).ticks == ()
    advanced = advance(found, NOW + 60 * SECOND, ENDED)
    assert advanced.ticks == (NOW + MINUTE,)
    assert advanced.due == NOW + 2 * MINUTE
    waits = advance(advanced.schedule, NOW + 5 * MINUTE, LIVE)
    assert (waits.ticks, waits.due) == ((), NOW + 5 * MINUTE + SECOND)
    ended = Last(ended_at=NOW + 5 * MINUTE)
    assert advance(waits.schedule, NOW + 5 * MINUTE + 1, ended).due == NOW + 6 * MINUTE
    assert advance(waits.schedule, NOW + 6 * MINUTE, ended).ticks == (NOW + 6 * MINUTE,)


def test_ids_are_of_the_tick() -> None:
    """The same tick has the same id; another tick, name, incarnation or namespace another one."""
    found = schedule()
    same = tick_id("default", found, NOW)
    others = {
        tick_id("other", found, NOW),
        tick_id("default", replace(found, name="b"), NOW),
        tick_id("default", replace(found, incarnation="j"), NOW),
        tick_id("default", found, NOW + 1),
        tick_id("default", found, NOW, "now"),
    }
    assert same == tick_id("default", replace(found, fired=7, cursor=0), NOW)
    assert len(others | {same}) == 6
    assert all(len(each) == 16 and each[6] >> 4 == 7 and each[8] >> 6 == 2 for each in others)


def test_a_record_of_another_version_can_be_read() -> None:
    """What a newer version added is left out, and what it left out has its default."""
    found = schedule()
    raw = write_schedule(found)
    assert read_schedule(raw[:-1] + b',"newer":{"a":1}}') == found
    assert b"waiting" not in raw


def test_meta_of_a_job() -> None:
    """Schedule and tick stand beside what the task's own options gave."""
    job = tick_job("default", schedule(meta=b'{"team":"a"}'), NOW)
    assert job.meta == b'{"team":"a","schedule":"a","tick":"2026-03-02T12:00:00+00:00"}'


class Advancing(RuleBasedStateMachine):
    """Random looks at a schedule, with a clock that also steps back, beside a plain list.

    The list holds the ticks that are known to be due; the machine keeps what has been fired.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.live = False
        self.fired: list[int] = []
        self.policy = ("one", "allow")
        self.found = schedule(overlap="allow")

    @rule(misfire=st.sampled_from(MISFIRES), overlap=st.sampled_from(OVERLAPS))
    @precondition(lambda self: not self.fired)
    def choose(self, misfire: str, overlap: str) -> None:
        """Begin again under other policies."""
        self.policy = (misfire, overlap)
        self.found = replace(schedule(misfire=misfire, overlap=overlap), cursor=self.found.cursor)

    @rule(seconds=st.integers(-4_000, 4_000))
    def move(self, seconds: int) -> None:
        """Let the clock go on, or step back."""
        self.now += seconds * SECOND

    @rule(live=st.booleans())
    def change(self, live: bool) -> None:  # noqa: FBT001 -- a rule's value
        """Let the last job live or end."""
        self.live = live and bool(self.fired)

    @rule()
    def look(self) -> None:
        """Advance, as a worker that found it due would."""
        before = self.found
        advanced = advance(before, self.now, Last(live=self.live))
        self.found = read_schedule(write_schedule(advanced.schedule))
        misfire, overlap = self.policy
        due = ticks_between(trigger_of(before.plan.trigger), before.cursor, self.now, 10_000)
        known = [*before.waiting, *due]
        assert set(advanced.ticks) <= set(known), "only what is due or waits can fire"
        if overlap in ("skip", "queue_one", "queue_all"):
            assert len(advanced.ticks) <= (0 if self.live else 1), "never two beside each other"
        if misfire == "one" and overlap == "allow":
            assert list(advanced.ticks) == due[-1:]
        if misfire == "all" and overlap == "allow":
            assert list(advanced.ticks) == due[:TICKS_MAX]
        self.fired += advanced.ticks
        self.live = self.live or bool(advanced.ticks)
        assert self.found.cursor >= before.cursor, "the cursor never goes back"
        following = next_tick(EACH_MINUTE, self.found.cursor)
        if not self.found.waiting:
            assert advanced.due == following, "the next look is at the next tick"
        else:
            assert advanced.due is not None
            assert advanced.due <= self.now + SECOND

    @invariant()
    def nothing_fires_twice(self) -> None:
        """Of any tick there is one job, whatever the clock did."""
        assert len(set(self.fired)) == len(self.fired)


TestAdvancing = Advancing.TestCase
TestAdvancing.settings = settings(max_examples=60, stateful_step_count=30)
