"""What users put into `limits=`: what is wrong is said where it is written."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from treadle import BadArguments, Concurrency, Every, Job, RateLimit, Switch, Treadle, UnknownTask
from treadle.core.durations import DAY, HOUR, MINUTE, SECOND
from treadle.core.gates.gate import PLACES, RATE, WINDOW, Gate, GateUse, read_gates, write_gates
from treadle.core.gates.limits import NAME_MAX, Limit, parse_rate


@pytest.fixture
def app() -> Iterator[Treadle]:
    """Give an application in memory."""
    app = Treadle("memory://")
    yield app
    app.close()


def _of(job: Job[Any]) -> list[GateUse]:
    return read_gates(job.record().gates)


def _gates(app: Treadle, limits: Any, *args: Any, **kwargs: Any) -> list[GateUse]:  # noqa: ANN401
    @app.task(name="pay", limits=limits, cost=3)
    def pay(account: int, kind: str = "card", *rest: int) -> None:
        del account, kind, rest

    return _of(pay.enqueue(*args, **kwargs))


@pytest.mark.parametrize(
    ("said", "quota", "period"),
    [
        ("10/m", 10, MINUTE),
        ("1/s", 1, SECOND),
        ("500/h", 500, HOUR),
        ("5000 / d", 5000, DAY),
        ("3/10s", 3, 10 * SECOND),
        ("10/minute", 10, MINUTE),
        ("2/2 hours", 2, 2 * HOUR),
    ],
)
def test_a_rate_is_a_number_and_a_period(said: str, quota: int, period: int) -> None:
    """Its units may be written out, and there may be several of them."""
    assert parse_rate(said) == (quota, period)


@pytest.mark.parametrize(
    "said",
    [
        *("10/x", "10", "/m", "10/", "", "ten/m", "10/m/m", "-1/m", "0/m", "1/0s", "1.5/s"),
        *("10/99d", "2000000/s", "10\u0664/m", "1" * 1_000, "1/" + "9" * 1_000 + "s"),
    ],
)
def test_what_is_no_rate_is_refused(said: str) -> None:
    """The error shows what was written, and what could be."""
    with pytest.raises(ValueError, match=r"rate|number|period|microsecond"):
        RateLimit(said)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Concurrency(0), ValueError, "from 1 to"),
        (lambda: Concurrency(-3), ValueError, "not -3"),
        (lambda: Concurrency(limit=True), TypeError, "not bool"),
        (lambda: Concurrency("5"), TypeError, "not str"),  # type: ignore[arg-type]
        (lambda: Concurrency(5, on_full="explode"), ValueError, "on_full"),
        (lambda: Concurrency(5, key="{"), ValueError, "no template"),
        (lambda: Concurrency(5, key="{a.b}"), ValueError, "names of arguments"),
        (lambda: Concurrency(5, key="{}"), ValueError, "names of arguments"),
        (lambda: Concurrency(5, key="{a!r}"), ValueError, "names of arguments"),
        (lambda: Concurrency(5, key="all"), ValueError, "names no argument"),
        (lambda: Concurrency(5, key=7), TypeError, "template"),  # type: ignore[arg-type]
        (lambda: Concurrency(5, name=""), ValueError, "printable"),
        (lambda: RateLimit("10/m", burst=0), ValueError, "burst"),
        (lambda: RateLimit(10), TypeError, "'10/m'"),  # type: ignore[arg-type]
        (lambda: RateLimit("9/m", window="fixed"), ValueError, "not 'fixed'"),  # type: ignore[arg-type]
        (lambda: RateLimit("9/m", window="sliding", burst=9), ValueError, "leave out burst=9"),
        (lambda: RateLimit("10001/m", window="sliding"), ValueError, "at most 10,000 .*10,001"),
    ],
)
def test_a_limit_out_of_range_is_refused(
    make: Callable[[], Limit], error: type[Exception], text: str
) -> None:
    """It is refused where it is written, with the value."""
    with pytest.raises(error, match=text):
        make()


def test_a_key_names_arguments_that_the_task_has(app: Treadle) -> None:
    """A name that is none is an error when the task is defined; the error lists those there are."""
    with pytest.raises(ValueError, match=r"'acount', which is no argument of pay.*account, kind"):
        _gates(app, Concurrency(1, key="{acount}"))


def test_a_key_may_not_name_all_the_rest(app: Treadle) -> None:
    """`*rest` is no single value."""
    with pytest.raises(ValueError, match="'rest', which is no argument"):
        _gates(app, Concurrency(1, key="{rest}"))


def test_two_limits_of_one_name_are_refused(app: Treadle) -> None:
    """Limits that share a name would be one gate with two meanings."""
    with pytest.raises(ValueError, match=r"two limits of pay are named 'pay/10/m'"):
        _gates(app, [RateLimit("10/m"), RateLimit("10/m", burst=1)])


def test_a_limit_is_not_named_like_the_pause_of_a_task(app: Treadle) -> None:
    """Who pauses such a limit would pause the task of that name as well."""
    with pytest.raises(ValueError, match=r"'task:api' of pay begins with 'task:'"):
        _gates(app, Concurrency(1, name="task:api"))


def test_what_a_pause_of_a_task_is_refused_for(app: Treadle) -> None:
    """The name, the note and the time are looked at before the store is asked."""
    with pytest.raises(ValueError, match="a task name has 1 to 200"):
        app.tasks.pause("")
    with pytest.raises(TypeError, match="a note is a str"):
        app.tasks.pause("mail", note=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lasting"):
        app.tasks.pause("mail", lasting=-1)
    assert not app.tasks.pause("n" * 200)
    assert app.tasks.resume("n" * 200)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (None, r"pay has no limit with a key.*limits=Switch\(key="),
        (Concurrency(1), "pay has no limit with a key"),
        (Concurrency(1, name="stripe", key="{account}"), r"share them.*'stripe:KEY'"),
        (
            [Switch(key="{account}"), RateLimit("1/s", key="{amount}")],
            r"different keys.*'pay/switch:KEY', 'pay/1/s:KEY'",
        ),
    ],
)
def test_a_key_that_names_no_one_gate_is_refused(app: Treadle, limits: Any, text: str) -> None:  # noqa: ANN401
    """The error says what the task lacks, or which gates may be meant; nothing is paused."""

    @app.task(name="pay", limits=limits)
    def pay(account: int, amount: int) -> None: ...

    for act in (app.tasks.pause, app.tasks.resume):
        with pytest.raises(ValueError, match=text):
            act("pay", key=7)
        with pytest.raises(UnknownTask, match="'sync'"):
            act("sync", key=7)
        with pytest.raises(TypeError, match="not bool"):
            act("pay", key=True)
    assert app.gates.list() == []


def test_what_is_no_limit_is_refused(app: Treadle) -> None:
    """A number alone does not say what it bounds."""
    with pytest.raises(TypeError, match="Concurrency"):
        _gates(app, [5])


def test_a_job_carries_its_gates_in_the_order_of_their_names(app: Treadle) -> None:
    """Each with its definition and what the job costs."""
    limits = [RateLimit("10/m", name="z", burst=4), Concurrency(5, name="a")]
    assert _gates(app, limits, 1) == [
        GateUse("a", PLACES, 3, 5),
        GateUse("z", RATE, 3, 10, MINUTE, 4),
    ]


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((7,), {}, "pay/concurrency:7-card"),
        ((7, "iban"), {}, "pay/concurrency:7-iban"),
        ((), {"kind": "iban", "account": 8}, "pay/concurrency:8-iban"),
    ],
)
def test_a_key_is_made_of_the_arguments(
    app: Treadle, args: tuple[object, ...], kwargs: dict[str, object], name: str
) -> None:
    """By place, by keyword or by default, the same call has the same gate."""
    [gate] = _gates(app, Concurrency(1, key="{account}-{kind}"), *args, **kwargs)
    assert gate.name == name


def test_an_argument_without_plain_text_is_refused(app: Treadle) -> None:
    """A list has no text that stays the same, so its call is an error and stores nothing."""
    with pytest.raises(BadArguments, match=r"'account' is a list"):
        _gates(app, Concurrency(1, key="{account}"), [1])


@pytest.mark.parametrize("value", ["x" * 500, "a\0b", "a\nb"])
def test_a_key_that_cannot_be_a_name_is_told_by_its_digest(app: Treadle, value: str) -> None:
    """Long or unprintable text still tells calls apart."""
    [gate] = _gates(app, Concurrency(1, key="{kind}"), 1, value)
    assert len(gate.name) <= NAME_MAX
    assert gate.name.isprintable()
    assert gate.name.startswith("pay/concurrency:")


@pytest.mark.parametrize("limits", [5, "10/m", Concurrency, [Concurrency(1), "10/m"]])
def test_what_is_no_list_of_limits_is_refused(app: Treadle, limits: object) -> None:
    """The error says what may stand there, also where the limit was forgotten or not called."""
    with pytest.raises(TypeError, match=r"limits takes RateLimit\(\.\.\.\)"):
        _gates(app, limits)


@pytest.mark.parametrize(
    "other", [Concurrency(2, name="api:1"), RateLimit("10/m", name="api:x", key="{kind}")]
)
def test_a_limit_that_a_key_of_another_could_name_is_refused(app: Treadle, other: Limit) -> None:
    """One job would take such a gate twice."""
    with pytest.raises(ValueError, match=r"'api' of pay has a key, '{account}'.*'api:"):
        _gates(app, [other, Concurrency(1, name="api", key="{account}")])


@pytest.mark.parametrize("other", [Concurrency(3, name="stripe"), RateLimit("2/s", name="stripe")])
def test_two_tasks_cannot_share_a_limit_with_two_numbers(app: Treadle, other: Limit) -> None:
    """Each enqueue would change the gate for both; the error names both tasks and limits."""
    app.task(name="one", limits=Concurrency(2, name="stripe"))(lambda: None)
    app.task(name="keyed", limits=Concurrency(9, name="stripe", key="{x}"))(lambda x: x)
    with pytest.raises(ValueError, match=r"'stripe' is .* of two and Concurrency\(2.* of one"):
        app.task(name="two", limits=other)(lambda: None)


def test_limits_shared_by_name_are_one_gate(app: Treadle) -> None:
    """Two tasks that name a limit carry the same gate."""

    @app.task(name="one", limits=Concurrency(2, name="stripe"))
    def one() -> None: ...

    @app.task(name="two", limits=Concurrency(2, name="stripe"))
    def two() -> None: ...

    assert _of(one.enqueue()) == _of(two.enqueue())


def test_each_call_of_many_has_its_own_key(app: Treadle) -> None:
    """Calls that are enqueued together are not all of the first one's account."""

    @app.task(name="pay", limits=Concurrency(1, key="{account}"))
    def pay(account: int) -> None:
        del account

    names = [_of(job)[0].name for job in pay.enqueue_many([(1,), (2,), pay.s(3)])]
    assert names == [f"pay/concurrency:{n}" for n in (1, 2, 3)]


def test_a_rate_loses_nothing_to_rounding() -> None:
    """A third of a second cannot be written in microseconds, yet three a second are three."""
    gate = Gate("r", RATE, quota=3, period=SECOND, burst=3)
    now = 1_000 * SECOND
    for _ in range(3):
        assert gate.room(now) > 0
        gate.take(1, now)
    assert gate.room(now) == 0
    starts = 3
    for at in range(now, now + 100 * SECOND, 1_001):
        while gate.room(at):
            gate.take(1, at)
            starts += 1
    assert starts == 3 + 3 * 100 - 1


@pytest.mark.parametrize("cost", [1, 2, 7])
@pytest.mark.parametrize("quota", [1, 3, 7, 999_983])
def test_a_gate_opens_just_when_it_says(quota: int, cost: int) -> None:
    """A microsecond earlier there is no room, and then there is."""
    gate = Gate("r", RATE, quota=quota, period=MINUTE, burst=7)
    now = 1_700_000_000 * SECOND
    gate.take(7, now)
    at = gate.opens_at(cost, now)
    assert at is not None
    assert gate.room(at) >= cost > gate.room(at - 1)


@pytest.mark.parametrize("cost", [1, 2, 7, 9])
@pytest.mark.parametrize("quota", [1, 3, 7, 10_000])
def test_a_window_opens_just_when_it_says(quota: int, cost: int) -> None:
    """A microsecond earlier there is no room, and then there is."""
    gate = Gate("w", WINDOW, quota=quota, period=MINUTE, burst=quota)
    now = 1_700_000_000 * SECOND
    while gate.room(now):
        gate.take(min(3, gate.room(now)), now)
        now += 1_001
    at = gate.opens_at(cost, now)
    assert at is not None
    assert gate.room(at) >= gate.takes(cost) > gate.room(at - 1)


def test_a_window_keeps_one_entry_for_each_instant_and_none_that_has_left() -> None:
    """Ten thousand starts of one instant are two numbers; a period later they are gone."""
    gate = Gate("w", WINDOW, quota=10_000, period=MINUTE, burst=10_000)
    for _ in range(10_000):
        gate.take(1, SECOND)
    assert gate.lately == [SECOND, 10_000]
    assert gate.room(SECOND) == 0
    gate.take(4, SECOND + MINUTE)
    assert gate.lately == [SECOND + MINUTE, 4]


def test_a_start_of_a_window_is_never_older_than_the_one_before_it() -> None:
    """Where the clock steps back, what starts then leaves with what had started last."""
    gate = Gate("w", WINDOW, quota=5, period=MINUTE, burst=5)
    gate.take(1, 10 * SECOND)
    gate.take(2, 4 * SECOND)
    assert gate.lately == [10 * SECOND, 3]
    assert gate.opens_at(5, 4 * SECOND) == 10 * SECOND + MINUTE


def test_a_bucket_and_a_window_of_one_name_are_two_meanings(app: Treadle) -> None:
    """The error tells them apart."""
    _gates(app, RateLimit("10/m", name="api", window="sliding"), 1)
    with pytest.raises(ValueError, match=r"'api' is RateLimit\('10/m', name='api'\).*sliding"):

        @app.task(name="other", limits=RateLimit("10/m", name="api"))
        def other() -> None:
            pass


def test_the_gates_of_a_job_survive_their_writing() -> None:
    """What is read is what was written; no gates are nothing."""
    uses = [GateUse("a", PLACES, 1, 5), GateUse("b", RATE, 2, 10, MINUTE, 3)]
    assert read_gates(write_gates(uses[::-1])) == uses
    assert (write_gates([]), read_gates(None)) == (None, [])


def test_the_jobs_of_a_schedule_carry_their_gates(app: Treadle) -> None:
    """A tick makes a job that meets the limits of its task as any other does."""

    @app.schedule(Every(60), args=(7,))
    @app.task(name="sweep", limits=Concurrency(1, key="{account}"))
    def sweep(account: int) -> None:
        del account

    with app.testing() as kit:
        kit.drain(within=90)
        jobs = list(app.jobs(task="sweep"))
        assert jobs
        assert {_of(job)[0].name for job in jobs} == {"sweep/concurrency:7"}
        assert {job.state for job in jobs} == {"succeeded"}
