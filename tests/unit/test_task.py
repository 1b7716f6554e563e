"""Tasks: defining them, calling them, enqueueing them."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from treadle.app import Treadle
from treadle.core.clock import MovedClock
from treadle.core.errors import (
    BadArguments,
    BadTaskSignature,
    DuplicateTask,
    NotSerializable,
    PayloadTooLarge,
    UnknownTask,
)
from treadle.core.job import JobState
from treadle.core.retry import JobPolicy, Retry, read_policy
from treadle.job import Job


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def fetch(name: str) -> str:
    """Give a name back."""
    return name


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on a file."""
    made = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    yield made
    made.close()


def _policy(job: Job[Any]) -> bytes | None:
    return job.refresh().record().policy


def test_a_plain_call_runs_the_function(app: Treadle) -> None:
    """A task called like a function is that function, sync or async."""
    assert app.task(add)(1, b=2) == 3
    assert asyncio.run(app.task(fetch)("a")) == "a"
    assert app.jobs() == []


def test_a_task_looks_like_its_function(app: Treadle) -> None:
    """A task carries the function's name and text, and its own name in the store."""
    task = app.task(add)
    assert task.__doc__ == "Add two numbers."
    assert task.name == f"{__name__}.add"
    assert repr(task) == f"<Task {__name__}.add>"


def test_enqueue_stores_a_job(app: Treadle) -> None:
    """An enqueued call is stored with its arguments when the call returns."""
    job = app.task(queue="math", priority=7, retry=3)(add).enqueue(1, b=2)
    assert job.state is JobState.READY
    assert (job.queue, job.priority, job.attempts_max) == ("math", 7, 3)
    assert (job.args, job.kwargs) == ((1,), {"b": 2})


def test_aenqueue_stores_a_job(app: Treadle) -> None:
    """The async twin stores the same job."""
    task = app.task(fetch)

    async def main() -> list[Job[str]]:
        return await asyncio.gather(*(task.aenqueue(str(n)) for n in range(50)))

    jobs = asyncio.run(main())
    assert sorted(int(job.args[0]) for job in jobs) == list(range(50))


def test_wrong_arguments_are_refused_before_anything_is_stored(app: Treadle) -> None:
    """Arguments that do not bind, do not serialise or are too large store nothing."""
    task: Any = app.task(add)
    for args, error in (
        ((), BadArguments),
        ((object(),), NotSerializable),
        ((float("nan"),), NotSerializable),
        ((datetime(2026, 1, 1),), NotSerializable),  # noqa: DTZ001 -- naive on purpose
        (("x" * 300_000,), PayloadTooLarge),
    ):
        with pytest.raises(error):
            task.enqueue(*args)
    assert app.jobs() == []


def test_using_overlays_options(app: Treadle) -> None:
    """Options of one call win over the task's, and the task itself is unchanged."""
    task = app.task(queue="a", retry=Retry(attempts=2, base=1), timeout=9)(add)
    at = datetime(2100, 1, 1, tzinfo=UTC)
    bound = task.using(queue="b", priority=-3, at=at, expires=at, tags=["x", "y", "x"])
    job = bound.using(retry=Retry(attempts=4, base=2), meta={"who": "me"}).enqueue(1)
    assert (job.queue, job.priority, job.attempts_max) == ("b", -3, 4)
    assert (job.run_at, job.expires_at, job.state) == (at, at, JobState.SCHEDULED)
    assert (job.tags, job.meta) == (("x", "y"), {"who": "me"})
    policy = read_policy(job.record().policy)
    assert policy is not None
    assert (policy.base, policy.timeout) == (2_000_000, 9_000_000)
    assert task.enqueue(1).queue == "a"


def test_a_policy_of_defaults_still_wins(app: Treadle) -> None:
    """A call that asks for the default policy gets it, whatever the task's own is."""
    task = app.task(retry=Retry(base=1))(add)
    stored = _policy(task.using(retry=Retry()).enqueue(1))
    assert stored is not None
    assert read_policy(stored) == JobPolicy()
    assert _policy(app.named("unknown").enqueue(1)) is None


def test_delay_and_expiry_count_from_the_enqueue(app: Treadle) -> None:
    """A delay and an expiry given as durations are counted from the store's now."""
    task = app.task(expires=60)(add)
    plain = task.enqueue(1)
    assert plain.expires_at == plain.created_at + timedelta(minutes=1)
    job = task.using(delay=timedelta(minutes=1), expires=3600).enqueue(1)
    assert job.run_at - job.created_at == timedelta(minutes=1)
    assert job.expires_at is not None
    assert job.expires_at - job.created_at == timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"speed": 1, "hue": 2}, "'hue', 'speed'"),
        ({"delay": -1}, "delay must be between"),
        ({"delay": float("nan")}, "delay must be finite"),
        ({"at": datetime(2026, 1, 1)}, "at has no timezone"),  # noqa: DTZ001 -- on purpose
        ({"expires": datetime(2026, 1, 1)}, "expires has no timezone"),  # noqa: DTZ001
        ({"expires": 0}, "expires must be above zero"),
        ({"delay": 1, "at": datetime.now(UTC)}, "not both"),
        ({"priority": 101}, "from -100 to 100"),
        ({"priority": True}, "must be an int"),
        ({"queue": "a b"}, "is not a queue name"),
        ({"retry": Retry(on=(ValueError,))}, "numbers only"),
        ({"retry": "often"}, "a Retry or a number"),
        ({"timeout": 0}, "timeout must be above zero"),
        ({"tags": "mail"}, r"tags=\['mail'\]"),
        ({"tags": [1]}, "a tag is a str"),
        ({"tags": [str(n) for n in range(21)]}, "at most 20 tags"),
        ({"tags": [""]}, "1 to 100 characters"),
        ({"tags": ["a\ud800"]}, "lone surrogate"),
        ({"meta": [1]}, "takes a mapping"),
        ({"meta": {1: 2}}, "keys of meta"),
        ({"meta": {"x": "y" * 20_000}}, "more than the limit of 16,384"),
        ({"connection": "jobs.db"}, r"a sqlite3\.Connection"),
    ],
)
def test_wrong_call_options_are_refused(app: Treadle, options: dict[str, Any], says: str) -> None:
    """An option that is unknown or out of range is an error that names it."""
    with pytest.raises((TypeError, ValueError), match=says):
        app.task(add).using(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colour": 1}, "no option 'colour'"),
        ({"name": ""}, "1 to 200 printable"),
        ({"name": 7}, "a task name is a str"),
        ({"retry": 0}, "attempts must be between"),
        ({"timeout": 1, "soft_timeout": 1}, "must be below timeout"),
        ({"timeout": -1}, "timeout must be between"),
        ({"on_cut_off": "explode"}, "'continue' or 'cancel'"),
        ({"keep_result": "long"}, "a bool or a duration"),
        ({"aliases": "old"}, r"aliases=\['old'\]"),
        ({"expires": datetime.now(UTC)}, "must be seconds"),
    ],
)
def test_wrong_task_options_are_refused(app: Treadle, options: dict[str, Any], says: str) -> None:
    """A task option that is unknown or out of range is an error that names it."""
    with pytest.raises((TypeError, ValueError), match=says):
        app.task(**options)(add)
    assert app.registry == {}


def test_the_definition_holds_what_the_worker_needs(app: Treadle) -> None:
    """Options become microseconds and one policy, encoded once."""
    app.task(timeout=2, soft_timeout=1, expires=60, keep_result=3600, aliases=["old"])(fetch)
    found = app.definition("old")
    assert found is app.definition(f"{__name__}.fetch")
    assert found is not None
    assert (found.timeout_us, found.soft_timeout_us) == (2_000_000, 1_000_000)
    assert (found.expires_us, found.is_async, found.keep_result) == (60_000_000, True, True)
    assert found.policy.keep == 3_600_000_000
    assert read_policy(found.policy_bytes) == found.policy
    app.task(name="plain", keep_result=False)(add)
    plain = app.definition("plain")
    assert plain is not None
    assert (plain.policy_bytes, plain.keep_result) == (None, False)


def test_names_are_taken_once(app: Treadle) -> None:
    """Two tasks of one name, or an alias that is taken, are refused and change nothing."""
    app.task(name="a", aliases=["b"])(add)
    for options in ({"name": "a"}, {"name": "b"}, {"name": "c", "aliases": ["a"]}):
        with pytest.raises(DuplicateTask, match="is taken by"):
            app.task(**options)(fetch)
    assert list(app.registry) == ["a"]


def test_what_a_worker_could_not_import_is_refused(app: Treadle) -> None:
    """A lambda or nested function needs a name of its own, unless jobs stay in the process."""

    def nested() -> None:
        """Do nothing."""

    for fn in (nested, lambda: None):
        with pytest.raises(BadTaskSignature, match="could not import"):
            app.task(fn)
    assert app.task(name="mine")(nested).name == "mine"
    assert Treadle("memory://").task(nested).name == f"{__name__}.nested"


@pytest.mark.parametrize("what", [int, 3, (x for x in "a")])
def test_what_is_no_function_is_refused(app: Treadle, what: object) -> None:
    """Only functions can be tasks."""
    with pytest.raises(BadTaskSignature, match="is no function"):
        app.task()(what)  # type: ignore[call-overload]


def test_a_generator_is_refused(app: Treadle) -> None:
    """A generator function has no result to store."""

    def generates() -> Iterator[int]:
        yield 1

    with pytest.raises(BadTaskSignature, match="generator function"):
        app.task(name="g")(generates)


def test_a_script_is_known_by_its_file(tmp_path: Path) -> None:
    """What a script enqueues has the name under which a worker imports it."""
    script = tmp_path / "shop.py"
    script.write_text(
        "from treadle.app import Treadle\n"
        "app = Treadle('memory://')\n"
        "@app.task\n"
        "def sell(): ...\n"
        "print(sell.name, app.default_module)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"shop.sell shop\n"


def test_many_are_stored_in_order(app: Treadle) -> None:
    """A bulk enqueue takes tuples and signatures, and returns light jobs in order."""
    task = app.task(add)
    calls = [(n,) if n % 2 else task.using(priority=5).s(n, b=n) for n in range(2_500)]
    jobs = task.enqueue_many(calls)
    assert [job.args[0] for job in jobs[::400]] == list(range(0, 2_500, 400))
    assert (jobs[2].priority, jobs[2].kwargs, jobs[3].priority) == (5, {"b": 2}, 0)
    assert app.queues.counts() == {"ready": 2_500}
    assert len(asyncio.run(task.aenqueue_many((n,) for n in range(10)))) == 10
    assert task.enqueue_many([]) == []


@pytest.mark.parametrize("call", ["ab", 1, ["a"], {"a": 1}, None])
def test_what_is_no_call_is_named(app: Treadle, call: object) -> None:
    """A call that is neither a tuple nor a signature is refused with its index."""
    with pytest.raises(TypeError, match=r"calls\[1\]"):
        app.task(add).enqueue_many([(1,), call])  # type: ignore[list-item]
    assert app.jobs() == []


def test_the_index_of_a_wrong_call_counts_all_batches(app: Treadle) -> None:
    """A wrong call far behind is named by its place among all calls."""
    calls: list[Any] = [(n,) for n in range(1_200)]
    with pytest.raises(TypeError, match=r"calls\[1200\]"):
        app.task(add).enqueue_many([*calls, None])  # type: ignore[list-item]


def test_a_str_of_calls_is_refused(app: Treadle) -> None:
    """A str is iterable, but none of its characters is a call."""
    with pytest.raises(TypeError, match=r"calls\[0\]"):
        app.task(add).enqueue_many("ab")  # type: ignore[arg-type]


def test_a_failing_batch_says_how_many_are_stored(app: Treadle) -> None:
    """When a batch fails, those before are stored, it is not, and the error says so."""
    task: Any = app.task(add)
    calls = [(n,) for n in range(1_500)] + [(float("inf"),)]
    with pytest.raises(NotSerializable) as caught:
        task.enqueue_many(calls)
    assert caught.value.__notes__[0].startswith("1,000 jobs")
    assert app.queues.counts() == {"ready": 1_000}
    with pytest.raises(NotSerializable) as caught:
        asyncio.run(task.aenqueue_many(calls))
    assert app.queues.counts() == {"ready": 2_000}


def test_a_signature_is_a_value(app: Treadle) -> None:
    """A signature compares by what it says, and enqueues what it says."""
    task = app.task(add)
    assert task.s(1) == task.s(1)
    assert task.s(1) != task.si(1)
    assert task.using(delay=5).s(1).options == {"delay": 5}
    assert task.si(1, b=2).enqueue().kwargs == {"b": 2}
    assert asyncio.run(task.s(4).aenqueue()).args == (4,)
    with pytest.raises(TypeError, match=r"calls\[0\] is a signature of"):
        app.task(name="other")(add).enqueue_many([task.s(1)])


def test_a_job_joins_the_callers_transaction(app: Treadle, tmp_path: Path) -> None:
    """Inside the caller's transaction a job exists when that commits, and never if it does not."""
    task = app.task(add)
    app.store  # noqa: B018 -- opens the file
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    bound = task.using(connection=connection)
    connection.execute("begin immediate")
    bound.enqueue(1)
    bound.enqueue_many([(2,), (3,)])
    connection.execute("rollback")
    assert app.jobs() == []
    connection.execute("begin immediate")
    job = bound.enqueue(4)
    connection.execute("commit")
    assert [each.id for each in app.jobs()] == [job.id]
    for coroutine in (bound.aenqueue(5), bound.aenqueue_many([(5,)])):
        with pytest.raises(TypeError, match="cannot use connection="):
            asyncio.run(coroutine)
    connection.close()


def test_a_store_that_shares_no_connection_says_so(app: Treadle) -> None:
    """A store that cannot write on the caller's connection refuses it, naming the store."""

    class Other:
        """A store with no transactions."""

        transactional = None

    store: Any = Other()
    connection = sqlite3.connect(":memory:")
    bound = app.task(add).using(connection=connection)
    with (
        app._swap_store(store, MovedClock()),  # noqa: SLF001 -- puts the other store in place
        pytest.raises(TypeError, match=r"this store \(Other\) has none"),
    ):
        bound.enqueue(1)
    connection.close()


def test_an_enqueue_on_a_loop_warns_once(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync enqueue on a running loop works, and warns once a process, naming the twin."""
    monkeypatch.setattr("treadle.task._warned", set())
    task = app.task(add)

    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="aenqueue") as said:
            task.enqueue(1)
        task.enqueue(2)
        assert said[0].filename == __file__

    asyncio.run(main())
    assert app.queues.counts() == {"ready": 2}


def test_a_task_without_its_code_can_be_enqueued_only(app: Treadle) -> None:
    """By name a task is enqueued as it is; calling it says that its code is not here."""
    job = app.enqueue("elsewhere.task", 1, x=[2])
    assert (job.task, job.args, job.kwargs) == ("elsewhere.task", (1,), {"x": [2]})
    with pytest.raises(UnknownTask):
        app.named("elsewhere.task")(1)
    task = app.task(add)
    assert app.named(task.name) is task
    with pytest.raises(BadArguments):
        app.enqueue(task.name)
    assert asyncio.run(app.aenqueue(task.name, 3)).args == (3,)
