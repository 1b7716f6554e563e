"""What jobs cost that are parked behind shut gates: they must cost nothing.

Two stores of a kind stand side by side, one of them with parked jobs. What is compared is taken
from both at the same time, or by turns.

On Redis 100,000 stored jobs cost a drain something whatever they wait for. The append-only file is
past 64 MB with them, so a drain of 16,000 jobs sets off the writing of a new one: a fork, and a
process that takes one of two cores for longer than the drain lasts (by turns with an empty queue,
0.52 of its rate in that round). So both servers write their files anew before each drain. The table
of keys doubles at 131,072, which falls into the second drain and makes that one slower. And of two
drains the second has the first's writes beside it on the same disk (0.82 to 1.07 of the first's
rate, 0.86 in the middle), so each store is first as often as second. Before, the figure was 0.63 to
0.81; beside 100,000 jobs that are merely delayed, which no gate knows of, it was the same as beside
100,000 that are parked.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
import redis

from bench.engines import ENGINES
from bench.engines.redis import write_anew
from bench.gates.drains import Shop, drain, opened, working
from bench.gates.tasks import FULL, FULL_GATE, make
from bench.gates.worker import COUNTING
from bench.harness.figures import Figures
from bench.harness.processes import BenchError, Running, wait_until

_PATIENCE_S: Final = 30.0
_OTHER: Final = "other"

Pair = tuple[Shop, Shop]


@contextlib.contextmanager
def side_by_side(engine: str, scratch: Path, parked: int) -> Iterator[Pair]:
    """Open a store without jobs, and one in which so many are parked, on servers of their own.

    Both know the same gates. Half of the jobs wait at a gate that was shut by hand, the others at
    one that opens tomorrow.

    Raises:
        BenchError: a server could not be had, or the jobs were not parked.
    """
    with contextlib.ExitStack() as stack:
        shops = []
        for name in ("empty", "crowded"):
            directory = scratch / name
            directory.mkdir()
            server = stack.enter_context(ENGINES[engine](directory))
            url = stack.enter_context(server.fresh(directory))
            shops.append(stack.enter_context(opened(url, directory)))
        for shop, many in zip(shops, (0, parked), strict=True):
            _park(shop, many)
        yield shops[0], shops[1]


def _park(shop: Shop, many: int) -> None:
    with working(shop, 1) as workers:
        drain(shop, workers, "daily", [(0,)])
        drain(shop, workers, "keyed", [(FULL, 0)])
    # By another application, which is closed: a session of PostgreSQL tells late what it has read,
    # and that would fall among the reads of the idle workers.
    with contextlib.closing(make(shop.url)) as app:
        app.gates.pause(FULL_GATE)
        app.named("daily").enqueue_many((number,) for number in range(many // 2))
        app.named("keyed").enqueue_many((FULL, number) for number in range(many - many // 2))
        parked = app.queues.counts().get("blocked", 0)
    if parked != many:
        raise BenchError(f"{parked:,} of {many:,} jobs are parked in {shop.url}")


def idle(pair: Pair, settle_s: float, seconds: float) -> Figures:
    """Run an idle worker on each store at the same time; give what both use and ask then.

    Raises:
        BenchError: one of them failed, or took half a minute longer than it should.
    """
    looks = [_looks(shop.url) for shop in pair]
    words = (f"--settle={settle_s}", f"--seconds={seconds}")
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(shop.started("idle.log", *words)) for shop in pair]
        wait_until(
            lambda: all(COUNTING in worker.log.read_text() for worker in workers),
            timeout_s=settle_s + _PATIENCE_S,
            what="the rest of both workers",
            workers=workers,
        )
        before = [look() for look in looks]
        found = [_answer(worker, settle_s + seconds + _PATIENCE_S) for worker in workers]
    for one, look, was in zip(found, looks, before, strict=True):
        now = look()
        one["store_work"] = now - was if now else one["sqlite_steps_per_s"]
    empty, crowded = found
    ratios = {
        f"{name}_ratio": crowded[name] / empty[name]
        for name in ("cpu_percent", "calls_per_s", "store_work")
    }
    return (
        {f"{name}_empty": value for name, value in empty.items()}
        | {f"{name}_crowded": value for name, value in crowded.items()}
        | ratios
    )


def _answer(worker: Running, limit_s: float) -> Figures:
    code = worker.process.wait(limit_s)
    if code != 0:
        raise BenchError(f"an idle worker ended with code {code}: {worker.log.read_text()}")
    figures: Figures = json.loads(worker.log.read_text().splitlines()[-1])
    return figures


def _looks(url: str) -> Callable[[], float]:
    """Give what tells how much a server has done: commands of Redis, rows that PostgreSQL read.

    SQLite has no server: 0, and the worker's own count stands.
    """
    if url.startswith("redis"):
        client: Any = redis.Redis.from_url(url)
        return lambda: sum(one["calls"] for one in client.info("commandstats").values())
    if url.startswith("postgres"):
        return lambda: _rows_read(url)
    return lambda: 0.0


def _rows_read(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT sum(seq_tup_read) + sum(idx_tup_fetch) FROM pg_stat_user_tables"
        ).fetchone()
    return float(found[0] or 0) if found else 0.0


def _drained_alone(
    shop: Shop, workers: list[Running], calls: Sequence[tuple[object, ...]]
) -> float:
    """Drain these jobs of a key with nothing under way that a drain before has set off."""
    if shop.url.startswith("redis"):
        write_anew(shop.url)
    return drain(shop, workers, "keyed", calls)


def another_key(pair: Pair, jobs: int, rounds: int) -> list[Figures]:
    """Drain the jobs of another key on both stores by turns; give each round's rates.

    An odd number of rounds becomes the next even one: each store comes first as often.
    """
    calls = [(_OTHER, number) for number in range(jobs)]
    found = list[Figures]()
    with working(pair[0], 1) as empty, working(pair[1], 1) as crowded:
        sides = {"empty": (pair[0], empty), "crowded": (pair[1], crowded)}
        for turn in range(rounds + rounds % 2 + 1):
            rates = {
                name: _drained_alone(*sides[name], calls)
                for name in (("empty", "crowded") if turn % 2 else ("crowded", "empty"))
            }
            if turn:  # The first round warms up.
                found.append(
                    {f"{name}_jobs_per_s": rate for name, rate in rates.items()}
                    | {"crowded_of_empty": rates["crowded"] / rates["empty"]}
                )
    return found
