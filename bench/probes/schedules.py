"""What schedules cost and how late they are, on one store and with one worker.

    python -m bench.probes.schedules sqlite|postgres|redis [--schedules N] [--seconds S]

Three figures: the processor time and store calls of a worker beside so many schedules of which
none is due; how late 1,000 jobs start whose ticks fall into one second, spread over it; and the
same when all are due at the same instant. "Late" is from the tick to the first line of the task,
so claimed and started, not only enqueued.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from treadle import Context, Cron, Every, Treadle, Worker
from treadle.client.schedules.options import make_plan
from treadle.core.schedule.advance import begin
from treadle.core.schedule.record import Schedule, write_schedule
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.scheduled import MOVES_MAX, Move
from treadle.testing.servers import Postgres, Redis

DUE: Final = 1_000
ROUNDS: Final = 5
COUNTED: Final = ("due_schedules", "fire", "schedules", "ended", "get", "cancel")


@contextmanager
def store_url(kind: str) -> Iterator[str]:
    """Give the URL of an empty store of this kind."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'jobs.db'}"
        return
    with Postgres() if kind == "postgres" else Redis() as server:
        yield server.url


def make_app(url: str, late: list[float]) -> Treadle:
    """Make an application whose task notes how late it starts."""
    app = Treadle(url, settings={"concurrency": 100})

    @app.task(name="tick", retry=1)
    async def tick(ctx: Context) -> None:
        if ctx.tick is not None:
            late.append((datetime.now(UTC) - ctx.tick).total_seconds())

    return app


async def prepare(app: Treadle) -> None:
    """Make the store's tables."""
    store = open_store(app.settings.store, "default", app.settings)
    if app.settings.store.startswith("postgres"):
        await store.migrate()
    await store.open()
    await store.close()


async def plant(app: Treadle, triggers: list[tuple[str, Cron | Every]]) -> None:
    """Store schedules, in large batches."""
    store, task = (await app.alink()).store, app.named("tick")
    now = (await store.due_schedules(0)).now
    for start in range(0, len(triggers), MOVES_MAX):
        moves = []
        for name, trigger in triggers[start : start + MOVES_MAX]:
            plan = make_plan(trigger, name, task, {"overlap": "allow", "limit": 1})
            made = Schedule(name=name, plan=plan, incarnation=name, cursor=now)
            step = begin(made, now)
            moves.append(Move(name, 0, write_schedule(step.schedule), step.due))
        await store.fire(moves)


def counting(store: Store, calls: Counter[str]) -> None:
    """Count the calls that this store gets from now on."""
    for name in COUNTED:
        verb = getattr(store, name)

        def counted(*args: Any, _name: str = name, _verb: Any = verb, **kwargs: Any) -> Any:  # noqa: ANN401
            calls[_name] += 1
            return _verb(*args, **kwargs)

        setattr(store, name, counted)


async def idle(app: Treadle, seconds: float) -> tuple[float, Counter[str]]:
    """Run a worker with nothing to do; give its share of a core and its calls for schedules."""
    calls: Counter[str] = Counter()
    async with Worker(app):
        await asyncio.sleep(2)
        counting(app.store, calls)
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - cpu) / (time.monotonic() - begun), calls


async def one_second(app: Treadle, late: list[float], *, spread: bool) -> list[float]:
    """Let 1,000 schedules be due in one second; give how late their jobs started, sorted."""
    late.clear()
    async with Worker(app):
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
        step = timedelta(microseconds=1_000_000 // DUE if spread else 0)
        await plant(
            app,
            [(f"{at:%S}{spread}{n}", Every(86_400, anchor=at + n * step)) for n in range(DUE)],
        )
        for _ in range(600):
            await asyncio.sleep(0.05)
            if len(late) >= DUE:
                break
    return sorted(late)


def told(late: list[float]) -> str:
    """Write percentiles in milliseconds."""
    at = [late[min(len(late) - 1, int(len(late) * q))] * 1e3 for q in (0.5, 0.99)]
    return f"p50 {at[0]:.0f}, p99 {at[1]:.0f}, max {late[-1] * 1e3:.0f} ms of {len(late)} jobs"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("sqlite", "postgres", "redis"))
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    late: list[float] = []
    with store_url(given.kind) as url:
        app = make_app(url, late)
        asyncio.run(prepare(app))
        base, _ = asyncio.run(idle(app, given.seconds / 2))
        far = Cron("H H 29 2 *", tz="Europe/Paris")
        begun = time.monotonic()
        asyncio.run(plant(app, [(f"far {n}", far) for n in range(given.schedules)]))
        print(f"{given.schedules:,} schedules stored in {time.monotonic() - begun:.1f} s")
        share, calls = asyncio.run(idle(app, given.seconds))
        pace = sum(calls.values()) / given.seconds
        print(
            f"idle: {share:.2%} of a core beside {base:.2%} without schedules; "
            f"{pace:.2f} calls a second for schedules {dict(calls)}"
        )
        for spread in (True, False):
            for _ in range(ROUNDS):
                found = asyncio.run(one_second(app, late, spread=spread))
                print("1,000 due,", "spread:" if spread else "at once:", told(found))
        app.close()


if __name__ == "__main__":
    main()
