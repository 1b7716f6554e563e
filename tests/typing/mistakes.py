"""Calls that type checkers must refuse, read by them and never run.

Each line carries the error that is expected of it; a checker that finds none there reports
the comment itself as needless, so that every promise of this file is checked.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from treadle.app import Treadle
from treadle.context import Context, context

app = Treadle("memory://")


@app.task
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@app.task(queue="a")
async def fetch(url: str, ctx: Context = context()) -> str:  # noqa: B008 -- the documented form
    """Fetch."""
    return url + ctx.idempotency_key


def wrong_arguments() -> None:
    """Parameters are checked on every way in."""
    add.enqueue("1")  # type: ignore[arg-type]
    add.enqueue()  # type: ignore[call-arg]
    add.enqueue(1, c=2)  # type: ignore[call-arg]
    add.si("1")  # type: ignore[arg-type]
    add("1")  # type: ignore[arg-type]
    add.using(priority=1).enqueue("1")  # type: ignore[arg-type]
    fetch.enqueue(1)  # type: ignore[arg-type]


def wrong_options() -> None:
    """Options are checked by name and by type."""
    add.using(speed=1)  # type: ignore[call-arg]
    add.using(priority="high")  # type: ignore[arg-type]
    app.task(colour=1)  # type: ignore[call-overload]
    app.task(queue=1)  # type: ignore[call-overload]
    app.jobs(hue="red")  # type: ignore[call-arg]
    add.enqueue_many(["ab"])  # type: ignore[list-item]


def wrong_results() -> None:
    """What a job gives is its task's return type."""
    text: str = add.enqueue(1).result()  # type: ignore[assignment]
    number: int = fetch("a")  # type: ignore[assignment]
    assert text
    assert number


async def wrong_awaits() -> None:
    """What is not a coroutine is not awaited."""
    await add(1)  # type: ignore[misc]
    await add.enqueue(1)  # type: ignore[misc]
