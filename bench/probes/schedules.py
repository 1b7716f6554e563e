"""What schedules cost and how late they are, on each store and with one worker.

    python -m bench.probes.schedules [sqlite|postgres|redis ...] [--quick] [--rounds N] [--out FILE]

Measured are the processor time and store calls of a worker beside so many schedules of which none
is due, and the calls of a fleet of eight; how late 1,000 jobs start whose ticks all fall on one
instant, by one worker and by two processes; and the same when they are spread over a second.
"Late" is from the tick to the first line of the task, so claimed and started, not only enqueued.
The worker is as it comes: its own number of slots, schedules with the options they have by
default. A figure of lateness is the median of the rounds' p99.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.harness.machine import commit, describe_machine
from bench.harness.report import FORMAT
from bench.probes.ticking import lateness
from treadle import Context, Cron, Every, Treadle, Worker
from treadle.client.schedules.options import make_plan
from treadle.core.schedule.advance import begin
from treadle.core.schedule.record import Schedule, write_schedule
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.parts.scheduled import MOVES_MAX, Move
from treadle.testing.servers import Postgres, Redis

STORES: Final = ("sqlite", "postgres", "redis")
RESULTS: Final = Path(__file__).parents[1] / "results" / "schedules.json"
COUNTED: Final = ("due_schedules", "fire", "schedules", "ended", "get", "cancel")

Late = dict[datetime, list[float]]
"""How late jobs started, in seconds, by the second of their tick."""


class Sizes(msgspec.Struct, frozen=True):
    """How much is measured."""

    schedules: int = 100_000
    due: int = 1_000
    rounds: int = 11
    period_s: int = 2
    """Seconds between two rounds."""
    idle_s: float = 15.0
    crew: int = 8
    """Workers whose calls are counted together."""
    processes: int = 2
    fleet_rounds: int = 5


QUICK: Final = Sizes(
    schedules=200, due=20, rounds=1, period_s=1, idle_s=1.0, crew=2, fleet_rounds=1
)


class Round(msgspec.Struct, frozen=True):
    """How late the jobs of one second's ticks started, in milliseconds."""

    jobs: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Bar(msgspec.Struct, frozen=True):
    """What is wanted, and what was reached."""

    name: str
    at_most: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.reached <= self.at_most


class Figures(msgspec.Struct, frozen=True):
    """What was measured on one store."""

    store: str
    schedules: int
    stored_s: float
    idle_core_percent: float
    idle_core_percent_without: float
    idle_calls_per_s: float
    idle_calls: dict[str, int]
    crew: int
    crew_calls_per_s: float
    """Of so many workers together."""
    at_once: list[Round]
    at_once_worker_ms: float
    """Processor time of the worker a round, less what it takes when nothing is due."""
    spread: list[Round]
    spread_worker_ms: float
    processes: int
    fleet_at_once: list[Round]
    """By so many worker processes."""
    bars: list[Bar]


class Results(msgspec.Struct, frozen=True):
    """One run."""

    format: int
    date: str
    mode: str
    seconds: float
    commit: dict[str, object]
    machine: dict[str, object]
    stores: list[Figures]


@contextmanager
def store_url(kind: str) -> Iterator[str]:
    """Give the URL of an empty store of this kind."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'jobs.db'}"
        return
    with Postgres(fsync="on") if kind == "postgres" else Redis() as server:
        yield server.url


def make_app(url: str, late: Late) -> Treadle:
    """Make an application whose task notes how late it starts."""
    app = Treadle(url)

    @app.task(name="tick", retry=1)
    async def tick(ctx: Context) -> None:
        now, due = datetime.now(UTC), ctx.tick
        if due is not None:
            late[due.replace(microsecond=0)].append((now - due).total_seconds())

    return app


async def prepare(app: Treadle) -> None:
    """Make the store's tables."""
    store = open_store(app.settings.store, "default", app.settings)
    if app.settings.store.startswith("postgres"):
        await store.migrate()
    await store.open()
    await store.close()


async def plant(app: Treadle, triggers: Sequence[tuple[str, Cron | Every]]) -> None:
    """Store schedules, in large batches."""
    store, task = (await app.alink()).store, app.named("tick")
    now = (await store.due_schedules(0)).now
    for start in range(0, len(triggers), MOVES_MAX):
        moves = []
        for name, trigger in triggers[start : start + MOVES_MAX]:
            plan = make_plan(trigger, name, task, {})
            made = Schedule(name=name, plan=plan, incarnation=name, cursor=now)
            step = begin(made, now)
            moves.append(Move(name, 0, write_schedule(step.schedule), step.due))
        await store.fire(moves)


async def uproot(app: Treadle, names: Sequence[str]) -> None:
    """Delete schedules."""
    store = (await app.alink()).store
    rows = await store.schedules(names)
    await store.fire([Move(row.name, row.revision, None) for row in rows if row is not None])


@contextmanager
def counting(store: Store) -> Iterator[Counter[str]]:
    """Count the calls for schedules that this store gets."""
    calls: Counter[str] = Counter()
    for name in COUNTED:
        verb = getattr(store, name)

        def counted(*args: Any, _name: str = name, _verb: Any = verb, **kwargs: Any) -> Any:  # noqa: ANN401
            calls[_name] += 1
            return _verb(*args, **kwargs)

        setattr(store, name, counted)
    try:
        yield calls
    finally:
        for name in COUNTED:
            delattr(store, name)


async def idle(app: Treadle, seconds: float, workers: int = 1) -> tuple[float, Counter[str]]:
    """Run workers with nothing to do; give their share of a core and their calls for schedules."""
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(Worker(app))
        await asyncio.sleep(min(2.0, seconds))
        with counting(app.store) as calls:
            begun, cpu = time.monotonic(), time.process_time()
            await asyncio.sleep(seconds)
            return (time.process_time() - cpu) / (time.monotonic() - begun), calls


async def rounds(
    app: Treadle, late: Late, triggers: Sequence[tuple[str, Cron | Every]], sizes: Sizes
) -> tuple[list[Round], float, float]:
    """Let schedules be due in so many seconds; give how late the jobs of each one started.

    The first one counts for nothing: they are stored in the midst of it. Also given are the
    processor time of all the others and how long they took, in seconds.
    """
    late.clear()
    cpu = begun = 0.0
    async with Worker(app):
        await plant(app, triggers)
        for _ in range(20 * (sizes.rounds + 3) * sizes.period_s):
            await asyncio.sleep(0.05)
            over = sum(len(one) >= len(triggers) for one in late.values())
            if over >= 1 and not begun:
                cpu, begun = time.process_time(), time.monotonic()
            if len(late) > sizes.rounds and len(late[sorted(late)[sizes.rounds]]) >= len(triggers):
                break
        cpu, took = time.process_time() - cpu, time.monotonic() - begun
        await uproot(app, [name for name, _ in triggers])
    counted = [_round(sorted(late[second])) for second in sorted(late)[1 : sizes.rounds + 1]]
    return counted, cpu, took


def _round(late: list[float]) -> Round:
    at = [late[min(len(late) - 1, int(len(late) * q))] * 1e3 for q in (0.5, 0.99)]
    return Round(len(late), round(at[0], 1), round(at[1], 1), round(late[-1] * 1e3, 1))


def measure(kind: str, sizes: Sizes) -> Figures:
    """Measure everything on one store."""
    late: Late = defaultdict(list)
    with store_url(kind) as url:
        app = make_app(url, late)
        asyncio.run(prepare(app))
        base, _ = asyncio.run(idle(app, sizes.idle_s / 2))
        far = Cron("H H 29 2 *", tz="Europe/Paris")
        begun = time.monotonic()
        asyncio.run(plant(app, [(f"far {n}", far) for n in range(sizes.schedules)]))
        stored_s = time.monotonic() - begun
        share, calls = asyncio.run(idle(app, sizes.idle_s))
        _, crew_calls = asyncio.run(idle(app, sizes.idle_s / 2, sizes.crew))
        every = Cron(f"*/{sizes.period_s} * * * * *", tz="Europe/Paris")
        once = [(f"once {n}", every) for n in range(sizes.due)]
        at_once, *spent = asyncio.run(rounds(app, late, once, sizes))
        first = datetime(2026, 1, 1, tzinfo=UTC)
        step = timedelta(seconds=1) / sizes.due
        apart = [(f"apart {n}", Every(sizes.period_s, first + n * step)) for n in range(sizes.due)]
        spread, *spread_spent = asyncio.run(rounds(app, late, apart, sizes))
        asyncio.run(plant(app, once))
        found = lateness(url, sizes.processes, sizes.due, sizes.fleet_rounds)
        by_fleet = [_round(one) for one in found.values()]
        app.close()
    crew_pace = sum(crew_calls.values()) / (sizes.idle_s / 2)
    return Figures(
        kind,
        sizes.schedules,
        round(stored_s, 1),
        round(share * 100, 2),
        round(base * 100, 2),
        round(sum(calls.values()) / sizes.idle_s, 2),
        dict(calls),
        sizes.crew,
        round(crew_pace, 2),
        at_once,
        _a_round(spent, share, len(at_once)),
        spread,
        _a_round(spread_spent, share, len(spread)),
        sizes.processes,
        by_fleet,
        _bars(share - base, crew_pace, at_once, spread, by_fleet),
    )


def _a_round(spent: Sequence[float], idle_share: float, count: int) -> float:
    cpu, took = spent
    return round((cpu - took * idle_share) / max(1, count) * 1e3, 1)


def _bars(
    cost: float, calls: float, at_once: list[Round], spread: list[Round], by_fleet: list[Round]
) -> list[Bar]:
    """Hold what was measured beside what is wanted."""
    return [
        Bar("schedules that are not due, % of a core a worker", 1.0, round(cost * 100, 2)),
        Bar("store calls a second of a fleet that idles", 2.0, round(calls, 2)),
        Bar("spread over a second, p99 in ms", 100.0, median_p99(spread)),
        Bar("at one instant, p99 in ms", 100.0, median_p99(at_once)),
        Bar("at one instant with a fleet, p99 in ms", 100.0, median_p99(by_fleet)),
    ]


def median_p99(measured: Sequence[Round]) -> float:
    """Give the median of the rounds' p99, in milliseconds."""
    return round(statistics.median(one.p99_ms for one in measured), 1)


def told(found: Figures) -> str:
    """Write the figures of a store for people."""
    share, base = found.idle_core_percent, found.idle_core_percent_without
    pace = f"{found.idle_calls_per_s:.2f} calls a second {found.idle_calls}"
    crew = f"{found.crew} workers: {found.crew_calls_per_s:.2f} calls a second"
    lines = [
        f"{found.store}: {found.schedules:,} schedules, stored in {found.stored_s:.1f} s",
        f"  idle: {share:.2f} % of a core, {base:.2f} % without schedules; {pace}; {crew}",
    ]
    for name, measured, spent in (
        ("at once", found.at_once, f", {found.at_once_worker_ms:.0f} ms of processor a round"),
        ("spread over a second", found.spread, f", {found.spread_worker_ms:.0f} ms"),
        (f"at once, {found.processes} processes, each tick once", found.fleet_at_once, ""),
    ):
        jobs = sum(one.jobs for one in measured)
        shown = ", ".join(f"{one:.0f}" for one in sorted(one.p99_ms for one in measured))
        lines.append(
            f"  {name}: {jobs:,} jobs in {len(measured)} rounds, median p99 "
            f"{median_p99(measured):.0f} ms (each: {shown}){spent}"
        )
    for bar in found.bars:
        verdict = "met  " if bar.met else "SHORT"
        lines.append(f"  {verdict} {bar.name}: {bar.reached:g} of at most {bar.at_most:g}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write the results of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="default: sqlite, postgres and redis")
    parser.add_argument("--quick", action="store_true", help="small counts; writes nothing")
    parser.add_argument("--schedules", type=int, help="how many that are not due")
    parser.add_argument("--rounds", type=int, help="how many of each kind by one worker")
    parser.add_argument("--out", type=Path, help="where to write the results")
    given = parser.parse_args(words)
    if unknown := set(given.stores) - set(STORES):
        parser.error(f"no store is called {', '.join(sorted(unknown))}")
    sizes = QUICK if given.quick else Sizes()
    if given.schedules is not None:
        sizes = msgspec.structs.replace(sizes, schedules=given.schedules)
    if given.rounds is not None:
        sizes = msgspec.structs.replace(sizes, rounds=given.rounds)
    begun, machine = time.monotonic(), describe_machine(Path(tempfile.gettempdir()))
    found = []
    for kind in given.stores or STORES:
        found.append(measure(kind, sizes))
        print(told(found[-1]), flush=True)
    out = given.out or (None if given.quick or given.stores else RESULTS)
    if out is not None:
        results = Results(
            FORMAT,
            datetime.now(UTC).isoformat(timespec="seconds"),
            "quick" if given.quick else "full",
            round(time.monotonic() - begun, 1),
            commit(),
            machine,
            found,
        )
        out.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


if __name__ == "__main__":
    main()
