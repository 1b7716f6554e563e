"""Keys in pure code: what makes two calls the same, and what cannot be a key."""
# ruff: noqa: ANN401, ARG005 -- key= takes values of many types, and functions of the arguments.

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from treadle import Debounce, DuplicateJob, JobCancelled, Throttle, Treadle, Unique
from treadle.core.keys.key import Conflict, Key, Until, check_key
from treadle.core.keys.naming import canonical, hash_of, name_of
from treadle.core.payload.codec import CallSpec

Call = Callable[..., Any]


def order(user: int, kind: str = "new", *, tags: dict[str, int] | None = None) -> None:
    """Be a task with each kind of argument."""


SIGNATURE = CallSpec.of(order, "order").signature


def key(of: Any, *args: object, **kwargs: object) -> str:
    """Give the key of a call."""
    return name_of(of, SIGNATURE, args, kwargs)


@pytest.fixture
def app() -> Treadle:
    """Give an application in memory."""
    return Treadle("memory://")


def test_the_same_call_has_the_same_key_however_it_is_written() -> None:
    """Places, keywords, defaults and the order of a dict make no difference."""
    same = [
        key(None, 1), key(None, user=1), key(None, 1, "new"), key(None, kind="new", user=1),
        key(None, 1, tags=None),
    ]  # fmt: skip
    assert len(set(same)) == 1
    tags = key(None, 1, tags={"a": 1, "b": 2})
    assert tags == key(None, tags={"b": 2, "a": 1}, user=1)
    assert len({*same, tags, key(None, 2), key(None, 1, "old"), key(None, "1")}) == 5


def test_a_template_reads_arguments_and_what_they_hold() -> None:
    """Defaults are filled in, braces can be written, and the rest is as in str.format."""
    assert key("{user}-{kind}", 7) == "7-new"
    assert key("{{{user:03}}}", 7) == "{007}"
    assert key("{tags[a]}", 7, tags={"a": 5}) == "5"
    assert key("all", 7) == "all"


def test_names_choose_arguments() -> None:
    """The others do not count, and the order of the names does not."""
    assert key(["user"], 7) == key(["user"], 7, "old") != key(["user"], 8)
    assert key(["user", "kind"], 7) == key(("kind", "user"), 7)
    assert len(key(["kind"], 7, "x" * 10_000)) == 64


def test_a_function_is_called_as_the_task_is() -> None:
    """With the arguments as they were given."""
    assert key(lambda user, kind="new", **_: f"{user}/{kind}", 7, kind="old") == "7/old"


def test_the_canonical_form_is_sorted_json() -> None:
    """Sorted at every depth and without spaces; the hash is of the task, too."""
    said = canonical({"b": {"z": 1, "a": dt.date(2026, 1, 2)}, "a": (1, "é")})
    assert said == '{"a":[1,"é"],"b":{"a":"2026-01-02","z":1}}'.encode()
    other = CallSpec.of(order, "other").signature
    assert hash_of(SIGNATURE, (1,), {}) == hash_of(SIGNATURE, (), {"user": 1})
    assert hash_of(SIGNATURE, (1,), {}) != hash_of(other, (1,), {})
    assert len(hash_of(SIGNATURE, (1,), {})) == 32


@pytest.mark.parametrize(
    ("of", "error", "said"),
    [
        ("{account}", ValueError, "'account', which order does not have"),
        (["user", "acount"], ValueError, "'acount', which order does not have"),
        ("", ValueError, "empty"),
        ([], ValueError, "no argument"),
        ("{user", ValueError, "no template"),
        ("{}", ValueError, "names no argument"),
        ("{0}", ValueError, "names no argument"),
        ("{user:{kind}}", ValueError, "names no argument"),
        (5, TypeError, "not int"),
        ([1], TypeError, "not list"),
    ],
)
def test_a_key_that_fits_no_call_is_an_error_where_the_task_is_defined(
    app: Treadle,
    of: Any,
    error: type[Exception],
    said: str,
) -> None:
    """It says what is wrong with it, for a decorator and for a call's options."""
    with pytest.raises(error, match=said):
        app.task(name="order", unique=Unique(key=of))(order)
    task = app.task(name="order")(order)
    with pytest.raises(error, match=said):
        task.using(unique=Throttle(5, key=of))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Unique(window=0), "window must be above zero"),
        (lambda: Unique(window=-1), "window must be between"),
        (lambda: Unique(until="never"), "until must be"),  # type: ignore[arg-type]
        (lambda: Unique(on_conflict="wait"), "must be one of"),  # type: ignore[arg-type]
        (lambda: Unique(until="started", window=5), "two things"),
        (lambda: Unique(window=5, on_conflict="replace"), "Debounce"),
        (lambda: Debounce(0), "wait must be above zero"),
        (lambda: Debounce(5, max_wait=4), "below wait"),
        (lambda: Debounce(5, max_wait=0), "max_wait must be above zero"),
        (lambda: Throttle(0), "period must be above zero"),
        (lambda: Throttle(dt.timedelta(seconds=-1)), "period must be between"),
        (lambda: check_key(Key("k", Until.TIME)), "above zero"),
        (
            lambda: check_key(Key("k", Until.TIME, Conflict.REPLACE, hold=1)),
            "cannot wait behind another one",
        ),
        (lambda: check_key(Key("k", hash=b"1")), "32 bytes"),
    ],
)
def test_a_rule_out_of_its_range_is_a_value_error(make: Call, said: str) -> None:
    """Each error names the value and its bounds."""
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("of", "arguments", "error", "said"),
    [
        (lambda user: user, (7,), TypeError, "gave a int"),
        (lambda user: "", (7,), ValueError, "has 0 characters"),
        (lambda user: "x" * 201, (7,), ValueError, "has 201 characters"),
        ("{user.name}", (7,), ValueError, "cannot be filled in"),
        ("{kind}", (7, ""), ValueError, "has 0 characters"),
    ],
)
def test_a_key_that_a_call_does_not_give_is_an_error_of_the_call(
    app: Treadle,
    of: Any,
    arguments: tuple[Any, ...],
    error: type[Exception],
    said: str,
) -> None:
    """Nothing is stored, and the error says what the key has come to."""
    task = app.task(name="order", unique=Unique(key=of))(order)
    with pytest.raises(error, match=said):
        task.enqueue(*arguments)
    assert not app.jobs()


def test_what_stands_in_no_rule_is_refused(app: Treadle) -> None:
    """unique= takes a rule, an idempotency key is a text, and a job has one of them."""
    with pytest.raises(TypeError, match="Unique, Debounce or Throttle"):
        app.task(name="order", unique=True)(order)  # type: ignore[call-overload]
    task = app.task(name="order", unique=Unique())(order)
    with pytest.raises(ValueError, match="one key"):
        task.using(idempotency_key="k")
    free = task.using(unique=None)
    for bad in ("", "x" * 201):
        with pytest.raises(ValueError, match="1 to 200 characters"):
            free.using(idempotency_key=bad)
    with pytest.raises(TypeError, match="not int"):
        free.using(idempotency_key=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave delay and at out"):
        free.using(unique=Debounce(5)).using(delay=3)


def test_each_rule_is_a_key_of_the_store() -> None:
    """What users write comes down to until when, and what a conflict does."""
    assert Unique().named("n") == Key("n", Until.END, Conflict.KEEP)
    assert Unique(until="started", on_conflict="skip").named("n") == Key(
        "n", Until.CLAIM, Conflict.SKIP
    )
    assert Unique(on_conflict="raise").named("n").conflict is Conflict.REFUSE
    assert Unique(window=5).named("n") == Key("n", Until.TIME, Conflict.KEEP, hold=5_000_000)
    assert Throttle(5).named("n") == Unique(window=5).named("n")
    assert Debounce(1, max_wait=9).named("n") == Key(
        "n", Until.END, Conflict.REPLACE, max_wait=9_000_000
    )


def test_a_skipped_job_says_who_kept_it_out(app: Treadle) -> None:
    """It is not stored, counts as cancelled, and its result is the reason."""
    task = app.task(name="order", unique=Unique(on_conflict="skip"))(order)
    first, second = task.enqueue(1), task.enqueue(1)
    assert (second.state, second.is_duplicate, first.is_duplicate) == ("cancelled", True, False)
    assert second.id != first.id
    with pytest.raises(JobCancelled, match=first.id):
        second.result(1)
    assert not second.cancel()
    assert [job.id for job in app.jobs()] == [first.id]


def test_a_call_of_many_that_is_refused_leaves_the_others(app: Treadle) -> None:
    """All others of the batch are stored, and the error says how many."""
    task = app.task(name="order", unique=Unique(on_conflict="raise"))(order)
    held = task.enqueue(1)
    with pytest.raises(DuplicateJob) as caught:
        task.enqueue_many([(0,), (1,), (2,), (2,)])
    assert caught.value.job_id == held.id
    assert "2 other jobs" in caught.value.__notes__[0]
    assert sorted(job.args[0] for job in app.jobs()) == [0, 1, 2]


def test_an_idempotency_key_gives_the_job_and_its_result(app: Treadle) -> None:
    """Over tasks and arguments it is refused; after a failure it is free."""

    @app.task
    def double(n: int) -> int:
        if n < 0:
            raise ValueError(n)
        return 2 * n

    with app.testing() as kit:
        job = double.using(idempotency_key="k").enqueue(4)
        kit.drain()
        again = double.using(idempotency_key="k").enqueue(n=4)
        assert (again.id, again.is_duplicate, again.result()) == (job.id, True, 8)
        with pytest.raises(DuplicateJob, match="another task or other arguments"):
            double.using(idempotency_key="k").enqueue(5)
        bad = double.using(idempotency_key="bad", retry=1)
        failed = bad.enqueue(-1)
        kit.drain()
        assert bad.enqueue(-1).id != failed.id


def test_a_debounced_task_runs_once_with_the_newest_arguments(app: Treadle) -> None:
    """Each call puts it off, at the latest to max_wait after the first."""
    seen: list[int] = []

    @app.task(unique=Debounce(10, max_wait=25))
    def note(n: int) -> None:
        seen.append(n)

    with app.testing() as kit:
        first = note.using(unique=Debounce(10, max_wait=25, key="x")).enqueue(0)
        for n in range(1, 4):
            kit.clock.move(8)
            note.using(unique=Debounce(10, max_wait=25, key="x")).enqueue(n)
        assert (first.refresh().run_at - first.created_at).total_seconds() == 25
        kit.drain()
        assert seen == [3]


def test_a_job_that_enqueues_its_own_key_gets_itself(app: Treadle) -> None:
    """It cannot block itself, and what it replaces waits behind it."""

    @app.task(unique=Unique(key="{n}"))
    def again(n: int, left: int) -> str:
        me = again.enqueue(n, left)
        if left:
            again.using(unique=Unique(key="{n}", on_conflict="replace")).enqueue(n, left - 1)
        return me.id

    with app.testing() as kit:
        job = again.enqueue(1, 2)
        kit.drain()
        jobs = app.jobs()
        assert job.result() == job.id
        assert [one.result() for one in jobs] == [one.id for one in jobs]
        assert len(jobs) == 3
