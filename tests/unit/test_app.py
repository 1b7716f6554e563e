"""The application: its settings, store, lists, queues, dead letters and hooks."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.line_kit import Line
from treadle.app import Treadle
from treadle.client.hooks import CallNext
from treadle.core.clock import MovedClock
from treadle.core.errors import SettingsError, StoreUnavailable
from treadle.core.job import JobState
from treadle.core.settings import Settings
from treadle.events import Event
from treadle.store.open import open_store


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on a file."""
    made = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    yield made
    made.close()


def test_settings_come_from_code_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code says wins over the environment, and that over the defaults."""
    monkeypatch.setenv("TREADLE_STORE", "memory://")
    monkeypatch.setenv("TREADLE_CONCURRENCY", "3")
    assert Treadle().settings.store == "memory://"
    app = Treadle("sqlite:///x.db", namespace="shop", settings={"concurrency": 4})
    found = (app.settings.store, app.settings.namespace, app.settings.concurrency)
    assert found == ("sqlite:///x.db", "shop", 4)
    whole = Treadle(settings=Settings(store="memory://", concurrency=5))
    assert whole.settings.concurrency == 5


@pytest.mark.parametrize("url", ["", "postgres", "mysql://x", "memory://x", "sqlite://x"])
def test_a_wrong_url_is_an_error_at_once(url: str) -> None:
    """A store that cannot be meant is refused when the application is made."""
    with pytest.raises(SettingsError):
        Treadle(url)


def test_every_wrong_setting_is_named() -> None:
    """Two problems are reported together."""
    with pytest.raises(SettingsError, match=r"colour.*concurrency"):
        Treadle("memory://", settings={"colour": 1, "concurrency": 0})


def test_a_store_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    """An error on opening is raised by the call that needs the store; the next one tries again."""
    app = Treadle(f"sqlite:///{tmp_path}/later/jobs.db")
    with pytest.raises(StoreUnavailable):
        app.enqueue("gone")
    (tmp_path / "later").mkdir()
    assert app.enqueue("gone").state is JobState.READY
    app.close()
    app.close()


def test_the_store_is_opened_once(app: Treadle) -> None:
    """Threads that need the store at the same time share one."""
    barrier = threading.Barrier(8)
    found: list[object] = []

    def ask() -> None:
        barrier.wait(5)
        found.append(app.store)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(found) == 8
    assert len({id(store) for store in found}) == 1


def test_threads_and_loops_enqueue_together(app: Treadle) -> None:
    """Concurrent sync and async enqueues on one file all arrive, each once."""

    def many(start: int) -> None:
        for number in range(start, start + 50):
            app.enqueue("gone", number)

    async def amany() -> None:
        await asyncio.gather(*(app.aenqueue("gone", number) for number in range(200, 400)))

    threads = [threading.Thread(target=many, args=(start,)) for start in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    asyncio.run(amany())
    for thread in threads:
        thread.join(20)
    assert sorted(job.args[0] for job in app.jobs(limit=1_000)) == list(range(400))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_enqueues_and_waits(app: Treadle) -> None:
    """A child enqueues sync and async and reads queues through threads of its own."""
    asyncio.run(app.aenqueue("gone", 0))
    job = app.enqueue("gone", 1)
    assert not job.wait(timeout=0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            app.enqueue("gone", 2)
            asyncio.run(app.aenqueue("gone", 3))
            assert not job.wait(timeout=0.01)
            code = 0 if app.queues.counts() == {"ready": 4} else 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    app.enqueue("gone", 4)
    assert sorted(each.args[0] for each in app.jobs()) == [0, 1, 2, 3, 4]


def test_jobs_are_listed_newest_first_in_pages(app: Treadle) -> None:
    """A page's cursor leads to the next one; the last page has none."""
    app.named("gone").enqueue_many([(n,) for n in range(5)])
    first = app.jobs(limit=3)
    second = asyncio.run(app.ajobs(limit=3, cursor=first.cursor))
    assert [job.args[0] for job in [*first, *second]] == [4, 3, 2, 1, 0]
    assert second.cursor is None


def test_jobs_are_filtered(app: Treadle) -> None:
    """Jobs are chosen by state, queue, task and tag; what is no filter is refused."""
    app.named("a").using(queue="x", tags=["red"]).enqueue()
    app.named("b").enqueue().cancel()
    for which in ({"queue": "x"}, {"task": "a"}, {"tag": "red"}, {"state": "ready"}):
        assert [job.task for job in app.jobs(**which)] == ["a"]  # type: ignore[arg-type]
    assert [job.task for job in app.jobs(state=JobState.CANCELLED)] == ["b"]
    wrong: Any = {"hue": "red"}
    with pytest.raises(TypeError, match="'hue'"):
        app.jobs(**wrong)
    with pytest.raises(ValueError, match="wonderful"):
        app.jobs(state="wonderful")
    for limit in (0, 1_001):
        with pytest.raises(ValueError, match="limit must be"):
            app.jobs(limit=limit)


def test_queues_are_controlled(app: Treadle) -> None:
    """Queues are listed with their counts, paused, resumed and purged."""
    app.named("gone").using(queue="a").enqueue_many([()] * 1_200)
    app.named("gone").using(queue="b", delay=60).enqueue()
    assert [queue.name for queue in app.queues.list()] == ["a", "b"]
    assert app.queues.counts("b") == {"scheduled": 1}
    assert [app.queues.pause("a"), app.queues.pause("a")] == [True, False]
    assert [queue.paused for queue in app.queues.list()] == [True, False]
    assert [app.queues.resume("a"), app.queues.resume("a")] == [True, False]
    assert app.queues.purge("a") == 1_200
    assert asyncio.run(app.queues.apurge("b")) == 1
    assert app.queues.counts() == {"cancelled": 1_201}
    with pytest.raises(ValueError, match="is not a queue name"):
        app.queues.purge("a b")


def test_dead_letters_are_controlled(app: Treadle) -> None:
    """Dead letters are listed, grouped, replayed and discarded; other jobs are left alone."""
    live = app.named("live").using(delay=60).enqueue()
    dead = app.named("gone").enqueue_many([(n,) for n in range(4)])
    line = Line(app)
    for _ in dead:
        line.fail("down")
    line.leave()
    assert [job.args[0] for job in app.dead.list(task="gone")] == [3, 2, 1, 0]
    [group] = app.dead.groups()
    assert (group.task, group.error, group.count) == ("gone", "ValueError", 4)
    assert app.dead.replay([dead[0].id, live.id]) == 1
    assert dead[0].refresh().state is JobState.READY
    assert live.refresh().state is JobState.SCHEDULED
    assert asyncio.run(app.dead.adiscard([dead[1].id, live.id])) == 1
    assert app.dead.discard(task="other") == 0
    assert asyncio.run(app.dead.areplay(task="gone", reason="not_retried")) == 2
    assert app.dead.list() == []


def test_dead_letters_beyond_a_batch_are_all_replayed(app: Treadle) -> None:
    """A replay goes on over batches until every dead letter that is meant has been reached."""
    jobs = app.named("gone").enqueue_many([(n,) for n in range(1_005)])
    line = Line(app)
    for _ in jobs:
        line.fail("down")
    line.leave()
    assert app.dead.replay() == 1_005


def test_dead_letters_are_chosen_clearly(app: Treadle) -> None:
    """One id as a str, ids with a filter, and unknown filters are refused."""
    wrong: Any = {"hue": "red"}
    for args, which, says in (
        (("abc",), {}, "list of ids"),
        (([],), {"task": "a"}, "not both"),
        ((), wrong, "'hue'"),
    ):
        with pytest.raises(TypeError, match=says):
            app.dead.replay(*args, **which)
    with pytest.raises(ValueError, match="is not a job id"):
        app.dead.discard(["abc"])


def test_workers_are_listed(app: Treadle) -> None:
    """A registered worker is shown with its slots, until it leaves."""
    line = Line(app)
    [worker] = app.workers()
    assert (worker.id, worker.host, worker.slots, worker.running) == (line.name, "host", 16, 0)
    line.leave()
    assert asyncio.run(app.aworkers()) == []


def test_hooks_are_kept_in_order(app: Treadle) -> None:
    """Hooks stay what they are and are kept for the worker in the order given."""

    async def wraps(job: object, call_next: CallNext) -> object:
        return await call_next() if job else None

    def hook() -> None:
        """Do nothing."""

    def dead(_: object) -> None:
        """Do nothing."""

    assert app.on_startup(hook) is app.on_shutdown(hook) is hook
    assert app.on_dead(dead) is dead
    assert app.middleware(wraps) is wraps
    assert (app.startup_hooks, app.shutdown_hooks) == ([hook], [hook])
    assert (app.dead_hooks, app.middlewares) == ([dead], [wraps])


def test_a_listener_cannot_change_the_line(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    """Each listener gets each event; what one raises is logged and stops nobody."""
    seen: list[str] = []

    @app.on_event
    def fails(event: Event) -> None:
        raise ValueError(event.name)

    end = app.events.subscribe(lambda event: seen.append(event.name))
    app.events.emit(Event("job.started", 1))
    end()
    app.events.emit(Event("job.ended", 2))
    assert seen == ["job.started"]
    assert "job.ended" in caplog.text
    assert bool(app.events)


def test_another_store_takes_its_place_for_a_while(app: Treadle) -> None:
    """Tests put a memory store in the application's place, and get the own one back."""
    app.enqueue("gone")
    clock = MovedClock()
    store = open_store("memory://", "default", app.settings, clock)
    asyncio.run(store.open())
    with app._swap_store(store, clock) as link:  # noqa: SLF001 -- made for treadle.testing
        assert app.stays_here
        assert link.clock is clock
        assert app.jobs() == []
        asyncio.run(app.aenqueue("inside"))
        assert [job.task for job in app.jobs()] == ["inside"]
    asyncio.run(store.close())
    assert app.store.features.shared
    assert [job.task for job in app.jobs()] == ["gone"]


def test_it_knows_its_module(app: Treadle) -> None:
    """An application knows the module that made it, for programs that import it again."""
    assert app.default_module == __name__
    assert repr(app) == f"<Treadle {__name__} namespace 'default'>"
