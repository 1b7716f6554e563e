"""Tenants as an application's code names them: on a task, on a call, and by their weights."""

import asyncio
from enum import Enum
from uuid import UUID

import pytest

from treadle import BadArguments, Cron, Treadle, Worker
from treadle.client.tenants.control import Tenant
from treadle.core.tenants.tenant import NAME_MAX, STRIDE, stride_of
from treadle.store.paging import PAGE

ID = UUID("00000000-0000-0000-0000-00000000000a")


class Plan(Enum):
    """How an account pays."""

    FREE = "free"


@pytest.fixture
def app() -> Treadle:
    """Give an application whose jobs lie in memory."""
    return Treadle("memory://")


def test_a_task_names_its_tenant(app: Treadle) -> None:
    """A plain text is the tenant of every job."""

    @app.task(tenant="acme")
    def report() -> None: ...

    assert report.enqueue().tenant == "acme"
    assert [job.tenant for job in report.enqueue_many([(), ()])] == ["acme", "acme"]


def test_a_template_reads_the_arguments(app: Treadle) -> None:
    """Positional, by keyword and by default, as a str, a number, a UUID or a member."""

    @app.task(tenant="{plan}/{account}")
    def report(account: int, plan: Plan = Plan.FREE) -> None: ...

    @app.task(tenant="{id_}{name}")
    def invoice(name: str, id_: UUID) -> None: ...

    assert report.enqueue(7).tenant == "free/7"
    assert report.enqueue(account=8, plan=Plan.FREE).tenant == "free/8"
    assert invoice.enqueue("x", id_=ID).tenant == f"{ID}x"
    jobs = report.enqueue_many([(1,), report.s(2), (3,)])
    assert [job.tenant for job in jobs] == ["free/1", "free/2", "free/3"]


def test_a_call_names_its_own_tenant(app: Treadle) -> None:
    """It counts instead of the task's, braces are only text, and None is nobody."""

    @app.task(tenant="{account}")
    def report(account: int) -> None: ...

    assert report.using(tenant="{other}").enqueue(1).tenant == "{other}"
    assert report.using(tenant=None).enqueue(1).tenant is None
    assert report.enqueue(1).tenant == "1"
    assert app.named("elsewhere.task").using(tenant="acme").enqueue(1).tenant == "acme"


def test_jobs_without_a_tenant_have_none(app: Treadle) -> None:
    """Nobody is made up."""

    @app.task
    def plain() -> None: ...

    job = plain.enqueue()
    assert job.tenant is None
    assert "Tenant" not in job.explain()


def test_a_job_explains_its_tenant(app: Treadle) -> None:
    """It says whose it is and that turns are taken."""

    @app.task(tenant="acme")
    def report() -> None: ...

    assert "Tenant: 'acme', which takes turns" in report.enqueue().explain()


def test_jobs_of_ticks_have_the_tasks_tenant(app: Treadle) -> None:
    """A schedule's jobs belong to whom its arguments name."""

    @app.task(tenant="{account}")
    def report(account: int) -> None: ...

    app.schedules.add(Cron("0 0 * * *"), report, name="nightly", args=(5,))
    assert app.schedules.trigger("nightly").tenant == "5"


@pytest.mark.parametrize(
    ("tenant", "told"),
    [
        ("{nobody}", "no argument of"),
        ("{account", "no template"),
        ("{account!r}", "nothing else"),
        ("{account:>9}", "nothing else"),
        ("{account.id}", "nothing else"),
        ("{}", "nothing else"),
        ("{{account}}", "names no argument"),
        ("{rest}", "no argument of"),
        ("{extras}", "no argument of"),
        ("{named}", "no argument of"),
        ("", "1 to 200"),
        ("x" * (NAME_MAX + 1), "1 to 200"),
        ("a\nb", "printable"),
    ],
)
def test_a_tenant_that_cannot_be_is_refused_at_once(app: Treadle, tenant: str, told: str) -> None:
    """The definition says what is wrong; no job has to."""
    with pytest.raises(ValueError, match=told):

        @app.task(tenant=tenant)
        def report(account: int, *rest: int, **extras: int) -> None: ...


def test_a_tenant_is_a_text(app: Treadle) -> None:
    """Anything else is an error of type, on a task and on a call."""

    @app.task
    def report() -> None: ...

    with pytest.raises(TypeError, match="a tenant is a str, not int"):
        report.using(tenant=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 to 200"):
        report.using(tenant="")


@pytest.mark.parametrize("value", [None, 1.5, [1], True])
def test_an_argument_that_names_nobody_is_refused(app: Treadle, value: object) -> None:
    """The error names the argument and the way out."""

    @app.task(tenant="{account}")
    def report(account: object) -> None: ...

    with pytest.raises(BadArguments, match=r"'account' .* with \.using\(tenant="):
        report.enqueue(value)


def test_an_argument_that_makes_no_name_is_refused(app: Treadle) -> None:
    """An empty text, or one that is too long, is nobody's name."""

    @app.task(tenant="{account}")
    def report(account: str) -> None: ...

    for value in ("", "x" * (NAME_MAX + 1), "a\0b"):
        with pytest.raises(BadArguments, match="makes no name"):
            report.enqueue(value)


def test_weights_are_set_looked_at_and_listed(app: Treadle) -> None:
    """A tenant that nobody has set has the weight 1, and is listed as little as before."""
    assert app.tenant("acme") == Tenant("acme", 1)
    assert app.tenant("acme", weight=3) == Tenant("acme", 3)
    assert app.tenant("slow", weight=0.25).weight == 0.25
    assert [(one.name, one.weight) for one in app.tenants()] == [("acme", 3), ("slow", 0.25)]
    assert app.tenant("acme", weight=1) == Tenant("acme", 1)
    assert [one.name for one in app.tenants()] == ["slow"]


def test_the_async_twins_do_the_same(app: Treadle) -> None:
    """`atenant` and `atenants`, on a loop."""

    async def main() -> list[Tenant]:
        await app.atenant("acme", weight=2)
        return list(await app.atenants())

    assert asyncio.run(main()) == [Tenant("acme", 2)]


def test_more_weights_than_a_page_holds_are_all_listed(app: Treadle) -> None:
    """Each once, by name."""
    names = [f"t{number:05}" for number in range(2 * PAGE + 1)]

    async def fill() -> list[str]:
        store = (await app.alink()).store
        for name in names:
            await store.set_tenant(name, STRIDE // 2)
        return [one.name for one in await app.atenants()]

    assert asyncio.run(fill()) == names


@pytest.mark.parametrize("weight", [0, -1, 0.009, 101, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(app: Treadle, weight: float) -> None:
    """From 0.01 to 100."""
    with pytest.raises(ValueError, match="weight must be from"):
        app.tenant("acme", weight=weight)


def test_a_weight_is_a_number(app: Treadle) -> None:
    """A text or a bool is an error of type, and so is a name that is none."""
    with pytest.raises(TypeError, match="weight is a number"):
        app.tenant("acme", weight="3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a tenant is a str"):
        app.tenant(7)  # type: ignore[arg-type]


def test_a_heavier_tenant_pays_less_for_a_turn() -> None:
    """The stride is the inverse of the weight, in whole thousandths."""
    assert [stride_of(weight) for weight in (1, 2, 4, 100, 0.01)] == [
        STRIDE, STRIDE // 2, STRIDE // 4, 10, 100_000,
    ]  # fmt: skip


def test_jobs_of_two_tenants_run_in_turn() -> None:
    """From the task's option to the order in which a worker runs the jobs."""
    app = Treadle("memory://")
    ran: list[str] = []

    @app.task(tenant="{name}")
    def work(name: str) -> None:
        ran.append(name)

    async def main() -> None:
        await work.aenqueue_many([("a",)] * 4)
        await work.aenqueue_many([("b",)] * 2)
        async with Worker(app, concurrency=1, burst=True) as worker:
            await worker.wait()

    asyncio.run(main())
    assert "".join(ran) == "ababaa"
