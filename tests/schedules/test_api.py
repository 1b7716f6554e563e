"""Schedules as users have them: declared in code, and changed at run time."""
# ruff: noqa: ANN401 -- the options are those of a schedule, which checks them.

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import treadle
from treadle import At, BadArguments, Context, Cron, Every, Treadle, Unique, UnknownTask, Worker
from treadle.client.schedules.views import SyncDiff
from treadle.core.errors import DuplicateJob, DuplicateSchedule, ScheduleError, ScheduleNotFound
from treadle.testing import enqueued
from treadle.under_test import Kit

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def make(url: str = "memory://", *names: str, period: float = 60) -> Treadle:
    """Make an application that declares schedules of these names."""
    app = Treadle(url)
    app.default_module = "shop"

    @app.task(name="t")
    def t(word: str = "") -> str:
        return word

    for name in names:
        app.schedule(Every(period, anchor=NOON), name=name)(t)
    return app


@pytest.fixture
def kit() -> Iterator[Kit]:
    """Put an application with one task and no schedule under test."""
    with make().testing(start=NOON) as kit:
        yield kit


def test_a_task_is_told_its_tick() -> None:
    """`ctx.tick` is the due instant, in every attempt and however late; by hand there is none."""
    app = Treadle("memory://")
    seen = []

    @app.schedule(Every(600, anchor=NOON))
    @app.task(name="t", retry=treadle.Retry(attempts=2, base=60))
    def t(ctx: Context) -> None:
        seen.append((ctx.job.schedule, ctx.tick, ctx.attempt))
        if ctx.attempt == 1 and ctx.tick is not None:
            raise ValueError

    with app.testing(start=NOON) as kit:
        kit.drain(within=0)
        kit.move(601)
        kit.drain(within=100)
        tick = NOON + timedelta(seconds=600)
        assert seen == [("t", tick, 1), ("t", tick, 2)]
        t.enqueue()  # type: ignore[call-arg]
        kit.drain(within=0)
        assert seen[-1] == (None, None, 1)


def test_meta_that_only_looks_like_a_tick(kit: Kit) -> None:
    """A job's own meta with those words, but no instant, is no tick."""
    job = kit.app.named("t").using(meta={"schedule": "a", "tick": "soon"}).enqueue().refresh()
    assert (job.schedule, job.tick) == (None, None)


def test_the_decorator_gives_the_task_back() -> None:
    """It can be enqueued and called as before, and have several schedules."""
    app = make("memory://", "a", "b")
    assert list(app.declared) == ["a", "b"]
    assert app.named("t")("x") == "x"


def declaring(**options: Any) -> Callable[[], object]:
    """Declare a schedule of a task that takes one optional word."""
    trigger = options.pop("trigger", Every(60))
    return lambda: make().schedule(trigger, **options)(make().named("t"))


@pytest.mark.parametrize(
    ("declare", "error", "why"),
    [
        (declaring(args=(1, 2)), BadArguments, "the task is called as t"),
        (declaring(args="word"), TypeError, "args takes a tuple, not str"),
        (declaring(kwargs=["a"]), TypeError, "kwargs takes a dict, not list"),
        (declaring(trigger="@daily"), TypeError, "a Cron, an Every or an At, not str"),
        (declaring(misfire="two"), ValueError, "one of one, all, skip, not 'two'"),
        (declaring(overlap="kill"), ValueError, "queue_all, cancel_running, not 'kill'"),
        (declaring(limit=0), ValueError, "limit must be at least 1"),
        (declaring(limit=1.5), TypeError, "limit must be an int"),
        (declaring(jitter=-1), ValueError, "jitter must be between"),
        (declaring(grace=0), ValueError, "grace must be above zero"),
        (declaring(starts=datetime(2026, 1, 1)), ValueError, "starts has no timezone"),  # noqa: DTZ001
        (declaring(starts=NOON, ends=NOON - timedelta(1)), ValueError, "ends before it starts"),
        (declaring(expires=10, jitter=10), ValueError, "some would never run"),
        (declaring(expires="soon"), ValueError, "a duration or 'next'"),
        (declaring(name=" a"), ValueError, "no blanks at its ends"),
        (declaring(name="a" * 201), ValueError, "1 to 200 printable characters"),
        (declaring(every=5), TypeError, "no option 'every'; it takes args, ends"),
        (lambda: make().schedule(Every(5))(len), TypeError, "stands above @app.task"),  # type: ignore[type-var]
        (lambda: make("memory://", "a", "a"), DuplicateSchedule, "it runs t; give one of them"),
    ],
)
def test_mistakes_are_errors_where_they_are_written(
    declare: Callable[[], object], error: type[Exception], why: str
) -> None:
    """The error names the option, what it was and what it takes."""
    with pytest.raises(error, match=why):
        declare()


def test_a_task_bound_to_a_time_cannot_be_scheduled() -> None:
    """Its jobs would all have the instant of the declaration."""
    app = make()
    with pytest.raises(ScheduleError, match="bound to at, delay"):
        app.schedule(Every(60))(app.named("t").using(delay=5))


def test_a_task_with_a_key_is_scheduled(kit: Kit) -> None:
    """While its job waits, a trigger by hand gives that one job, and a backfill makes none."""
    keyed = kit.app.named("t").using(unique=Unique())
    kit.app.schedules.add(Every(60), keyed, overlap="allow", name="k")
    kit.clock.move(60)
    first = kit.app.schedules.trigger("k")
    kit.clock.move(1)
    again = kit.app.schedules.trigger("k")
    assert (first.id, again.is_duplicate) == (again.id, True)
    past = (NOON - timedelta(minutes=5), NOON)
    done = kit.app.schedules.backfill("k", *past)
    assert (done.made, done.there, done.complete) == (0, 0, True)
    first.cancel()
    done = kit.app.schedules.backfill("k", *past)
    assert (done.made, done.there) == (1, 0)
    loud = kit.app.named("t").using(unique=Unique(on_conflict="raise"))
    kit.app.schedules.add(Every(60), loud, name="loud")
    with pytest.raises(DuplicateJob):
        kit.app.schedules.trigger("loud")


def test_a_task_with_an_idempotency_key_cannot_be_scheduled(kit: Kit) -> None:
    """One key stands for one call, and each tick is another."""
    with pytest.raises(ScheduleError, match="each tick is a call of its own"):
        kit.app.schedules.add(Every(60), kit.app.named("t").using(idempotency_key="x"))


def test_options_of_a_bound_task_are_its_jobs(kit: Kit) -> None:
    """Queue, priority, tags and meta of `.using` are those of each job."""
    task = kit.app.named("t").using(queue="q", priority=5, tags=["a"], meta={"team": "x"})
    kit.app.schedules.add(Every(60, anchor=NOON), task, name="s", args=("hi",))
    kit.drain(within=60)
    (job,) = enqueued(kit.app.named("t"))
    assert (job.queue, job.priority, job.tags, job.result()) == ("q", 5, ("a",), "hi")
    assert job.meta == {"team": "x", "schedule": "s", "tick": "2026-03-02T12:01:00+00:00"}


def test_added_changed_and_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker stores what its code declares, says what changed, and touches nothing else."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    caplog.set_level(logging.INFO, "treadle.worker")
    first = make(url, "a", "b")
    run(first)
    assert "schedules: added: a, b" in caplog.text
    first.schedules.add(Every(5), "t", name="made by hand")
    first.schedules.pause("a", "hm", by="ada")
    first.close()
    caplog.clear()

    second = make(url, "b", "c", period=90)
    run(second)
    assert "schedules: added: c; changed: b; removed: a" in caplog.text
    names = {info.name: info.words for info in second.schedules.list()}
    assert names == {"b": "every 0:01:30", "c": "every 0:01:30", "made by hand": "every 0:00:05"}
    assert second.schedules.declare() == SyncDiff()
    second.close()


def run(app: Treadle) -> None:
    """Start a worker and stop it."""

    async def one() -> None:
        async with Worker(app):
            pass

    asyncio.run(one())


def test_two_versions_of_the_code_do_not_fight(kit: Kit) -> None:
    """Old workers that start again leave the new ones' schedules alone, for ten minutes."""
    old, new = make("memory://", "a", "b").declared, make("memory://", "b", "c", period=90).declared
    app = kit.app

    def deploy(declared: dict[str, Any], **options: bool) -> str:
        app.declared.clear()
        app.declared.update(declared)
        return str(app.schedules.declare(**options))

    assert deploy(old) == "added: a, b"
    assert deploy(new) == "added: c; changed: b; removed: a"
    for _ in range(3):
        assert "newer code declared schedules at 12:00:00 UTC" in deploy(old)
        assert deploy(new) == "nothing to change"
    assert [info.name for info in app.schedules.list()] == ["b", "c"]
    # A deploy back: by hand at once, by itself when the rolling deploy must be over.
    assert deploy(old, force=True) == "added: a; changed: b; removed: c"
    assert "newer code" in deploy(new)
    kit.move(601)
    assert deploy(new) == "added: c; changed: b; removed: a"


def test_a_change_keeps_what_is_not_changed(kit: Kit) -> None:
    """Counts, pause and place stay; a new trigger begins now."""
    app = kit.app
    task = app.named("t")
    app.schedule(Every(60, anchor=NOON), name="a")(task)
    kit.drain(within=120)
    app.schedules.pause("a", "hm")
    app.declared.clear()
    app.schedule(Every(60, anchor=NOON), name="a", args=("new",))(task)
    assert str(app.schedules.declare()) == "changed: a"
    info = app.schedules.get("a")
    assert info.paused is not None
    assert (info.fired, info.paused.note) == (2, "hm")
    app.schedules.resume("a")
    kit.move(30)
    app.declared.clear()
    app.schedule(Every(60, anchor=NOON), name="a", args=("newer",))(task)
    kit.move(30)
    # The tick of this very minute is due, and a change of the arguments does not lose it.
    app.schedules.declare()
    kit.drain(within=0)
    assert enqueued(task)[-1].args == ("newer",)


def test_pause_and_resume(kit: Kit) -> None:
    """With a note and an author; the ticks of the pause become no jobs."""
    schedules = kit.app.schedules
    schedules.add(Every(60, anchor=NOON), "t", name="a")
    paused = schedules.pause("a", "the partner is down", by="ada").paused
    assert paused is not None
    assert (paused.note, paused.by, paused.at) == ("the partner is down", "ada", NOON)
    assert kit.drain(within=600) == 0
    resumed = schedules.resume("a")
    assert (resumed.paused, resumed.next) == (None, NOON + timedelta(seconds=600))
    again = schedules.pause("a")
    assert again.paused is not None
    assert again.paused.by


def test_trigger_skip_and_limit(kit: Kit) -> None:
    """Run now is a job of its own, a skipped tick is none, and the limit counts ticks."""
    schedules = kit.app.schedules
    schedules.add(Every(60, anchor=NOON), "t", name="a", limit=2)
    job = schedules.trigger("a")
    kit.drain(within=0)
    assert (job.result(), job.schedule, job.tick) == ("", "a", NOON)
    schedules.skip("a", 2)
    assert schedules.get("a").skipping == 2
    kit.drain(within=600)
    info = schedules.get("a")
    assert (info.fired, info.missed, info.remaining, info.over) == (2, 2, 0, True)
    assert info.last_tick == NOON + timedelta(minutes=4)


def test_backfill(kit: Kit) -> None:
    """Past ticks become jobs once, page by page, however often it is sent."""
    schedules = kit.app.schedules
    schedules.add(Every(60, anchor=NOON), "t", name="a", expires=51, jitter=50)
    begin = NOON - timedelta(hours=10)
    part = schedules.backfill("a", begin, NOON, limit=250)
    assert (part.made, part.there, part.complete) == (250, 0, False)
    assert part.until > begin + timedelta(minutes=249)
    rest = schedules.backfill("a", part.until, NOON)
    assert (rest.made, rest.there, rest.until, rest.complete) == (350, 0, NOON, True)
    again = schedules.backfill("a", begin, NOON)
    assert (again.made, again.there) == (0, 600)
    assert kit.drain(within=0) == 600
    with pytest.raises(ValueError, match="is not yet"):
        schedules.backfill("a", NOON, NOON + timedelta(1))
    with pytest.raises(ValueError, match="before the start"):
        schedules.backfill("a", NOON, begin)
    with pytest.raises(ValueError, match="has no timezone"):
        schedules.backfill("a", datetime(2026, 1, 1), NOON)  # noqa: DTZ001
    with pytest.raises(ValueError, match="from 1 to 10,000"):
        schedules.backfill("a", begin, NOON, limit=0)
    schedules.add(Every(60, after="end"), "t", name="b")
    with pytest.raises(ScheduleError, match="fixed delay, which has no ticks"):
        schedules.backfill("b", begin, NOON)


def test_start_end_and_limit_bound_what_is_shown_and_made(kit: Kit) -> None:
    """Neither a preview nor a backfill goes beyond them; a schedule that is over shows nothing."""
    minute = timedelta(minutes=1)
    kit.app.schedules.add(
        Every(60, anchor=NOON), "t", name="s", limit=3, overlap="allow", misfire="all",
        starts=NOON + 2 * minute, ends=NOON + 9 * minute,
    )  # fmt: skip
    shown = kit.app.schedules.preview("s", 9, after=NOON - minute)
    assert [tick.at for tick in shown] == [NOON + n * minute for n in (2, 3, 4)]
    kit.drain(within=20 * 60)
    assert kit.app.schedules.preview("s") == []
    past = (NOON - timedelta(hours=1), NOON + 20 * minute)
    done = kit.app.schedules.backfill("s", *past)
    assert (done.made, done.there, done.complete, done.until) == (5, 3, True, past[1])


def test_preview_marks_clock_changes(kit: Kit) -> None:
    """In the zone of the trigger, in words, with what clocks do to a tick."""
    schedules = kit.app.schedules
    spring = datetime(2026, 3, 28, tzinfo=PARIS)
    ticks = schedules.preview(Cron("30 2 * * *", tz="Europe/Paris"), 3, after=spring)
    assert [(f"{t.at:%d %H:%M}", t.mark) for t in ticks] == [
        ("28 02:30", ""),
        ("29 03:00", "moved: clocks skip its time"),
        ("30 02:30", ""),
    ]
    autumn = datetime(2026, 10, 25, tzinfo=PARIS)
    ticks = schedules.preview(Cron("30 2 * * *", "Europe/Paris", "twice"), 3, after=autumn)
    assert [(f"{t.at:%d %H:%M}", t.mark) for t in ticks] == [
        ("25 02:30", "clocks show it twice: the first"),
        ("25 02:30", "the second time that clocks show it"),
        ("26 02:30", ""),
    ]
    hourly = Cron("0 3 * * *", tz="Europe/Paris")
    assert schedules.preview(hourly, 2, after=spring)[1].mark == ""
    schedules.add(hourly, "t", name="a", ends=NOON + timedelta(2))
    assert len(schedules.preview("a", 10)) == 2
    assert schedules.get("a").words == "at 03:00 (Europe/Paris)"


def test_errors_of_changes(kit: Kit) -> None:
    """They name the schedule or the task, and say what to do next."""
    schedules = kit.app.schedules
    for act in (schedules.get, schedules.pause, schedules.resume, schedules.trigger):
        with pytest.raises(ScheduleNotFound, match="no schedule is called 'none'"):
            act("none")
    assert schedules.remove("none") is False
    with pytest.raises(UnknownTask, match="no task is registered under the name 'gone'"):
        schedules.add(Every(5), "gone")
    with pytest.raises(TypeError, match="runs a task or a task's name"):
        schedules.add(Every(5), len)  # type: ignore[arg-type]
    schedules.add(Every(5), "t")
    with pytest.raises(DuplicateSchedule, match="give replace=True"):
        schedules.add(Every(5), "t")
    with pytest.raises(ScheduleError, match="would never be due"):
        schedules.add(At(NOON), "t", name="past")
    with pytest.raises(ValueError, match="from 0 to 1,000"):
        schedules.skip("t", -1)
    with pytest.raises(ValueError, match="at most 500 characters"):
        schedules.pause("t", "a" * 501)


def test_lists_go_page_by_page(kit: Kit) -> None:
    """By name, from the one after a name on; what modules have declared is no schedule."""
    schedules = kit.app.schedules
    kit.app.schedule(Every(60), name="declared")(kit.app.named("t"))
    schedules.declare()
    for number in range(1_100):
        schedules.add(Every(60), "t", name=f"s{number:04}")
    first = schedules.list(limit=1_000)
    rest = schedules.list(after=first[-1].name)
    assert [info.name for info in (*first, *rest)] == [
        "declared",
        *(f"s{number:04}" for number in range(1_100)),
    ]
    with pytest.raises(ValueError, match="from 1 to 10,000"):
        schedules.list(limit=0)


def test_async_twins() -> None:
    """Each call has one that does not block the loop."""
    app = make()

    async def all_of_them() -> None:
        schedules = app.schedules
        info = await schedules.aadd(Every(60, anchor=NOON), "t", name="a")
        assert info == await schedules.aget("a") == (await schedules.alist())[0]
        assert (await schedules.apause("a", by="x")).paused
        assert (await schedules.aresume("a")).paused is None
        assert (await schedules.askip("a")).skipping == 1
        assert (await schedules.atrigger("a")).schedule == "a"
        assert len(await schedules.apreview("a", 3)) == 3
        assert (await schedules.abackfill("a", NOON - timedelta(0, 60), NOON)).made == 1
        assert not await schedules.adeclare()
        assert await schedules.aremove("a")

    asyncio.run(all_of_them())
    app.close()


def test_a_task_whose_code_is_gone_is_told(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Once a worker, with what to do; its job waits for code that knows it."""
    kit.app.schedules.add(Every(60, anchor=NOON), kit.app.named("elsewhere"), overlap="allow")
    kit.drain(within=180)
    (warning,) = {
        record.getMessage()
        for record in caplog.records
        if "makes jobs of elsewhere" in record.getMessage()
    }
    assert "run `treadle schedules remove`" in warning
    assert len(kit.app.jobs(task="elsewhere")) == 3
