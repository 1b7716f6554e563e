"""Each tick one job: twenty workers, a death a second, and clocks that step by an hour."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from tests.faults import clocks, ticking
from tests.faults.scene import QUICK, ROOT, SOURCES, Process, struck
from treadle import Treadle
from treadle.core.durations import SECOND
from treadle.core.errors import StoreUnavailable
from treadle.store.open import open_store
from treadle.testing.faults import Spec, points
from treadle.testing.ledger import Ledger
from treadle.testing.servers import Postgres
from treadle.worker.firing.firing import CROWD

FIRE: Final = [point.name for point in points() if point.name.startswith("fire.")]
CLOCKS: Final = pytest.mark.skipif(
    clocks.library() is None, reason="there is no libfaketime for this platform"
)
HOUR_S: Final = 3_600


class Fleet:
    """Workers on one store whose schedules tick, and what they have written down."""

    def __init__(self, url: str, folder: Path, size: tuple[int, float, int]) -> None:
        self.url, self.folder, self.size = url, folder, size
        self.ledger = Ledger(folder / "ledger.txt")
        self.clock = folder / "clock"
        self.workers: list[Process] = []
        self.pids: list[int] = []
        self.count = 0
        clocks.step(self.clock, 0)
        self.space = f"n{uuid4().hex[:12]}"
        asyncio.run(self._make())

    async def _make(self) -> None:
        app = self.app()
        store = open_store(self.url, self.space, app.settings)
        with contextlib.suppress(StoreUnavailable):  # A file that is not there yet.
            await store.migrate()
        await store.open()
        await store.close()

    def app(self) -> Treadle:
        """Make an application on the fleet's store."""
        return Treadle(self.url, namespace=self.space)

    def start(self, *, stepped: bool = False, fault: str | None = None) -> Process:
        """Start a worker; `stepped` steers its clock by the fleet's file."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TREADLE_")}
        environ |= QUICK | {"PYTHONPATH": SOURCES, "TREADLE_NAMESPACE": self.space}
        if stepped:
            environ |= clocks.steered(self.clock)
        armed = [] if fault is None else ["-m", "treadle.testing.faults", fault, "--"]
        words = [str(ROOT / "tests/faults/ticking.py"), self.url, str(self.ledger.path)]
        command = [sys.executable, *armed, *words, *map(str, self.size)]
        self.count += 1
        worker = Process(command, environ, self.folder / f"{self.count}.log")
        self.workers.append(worker)
        self.pids.append(worker.child.pid)
        return worker

    def seen(self) -> set[tuple[str, str, str]]:
        """Read which ticks made which jobs: (schedule, tick, job)."""
        keys = {entry.key for entry in self.ledger.entries()}
        return {(schedule, tick, job) for schedule, tick, job in (k.split("|") for k in keys)}

    def until(self, ticks: int, seconds: float) -> None:
        """Wait until so many ticks have been executed."""
        deadline = time.monotonic() + seconds
        while len(self.seen()) < ticks:
            assert time.monotonic() < deadline, (
                f"{len(self.seen())} of {ticks} ticks: "
                + "\n".join(worker.said[-300:] for worker in self.workers)
            )
            time.sleep(0.1)

    def judge(self) -> dict[str, list[str]]:
        """Call every tick to account; give the ticks of each schedule, in order."""
        count, _, limit = self.size
        seen = self.seen()
        jobs = Counter((schedule, tick) for schedule, tick, _ in seen)
        doubled = [tick for tick, number in jobs.items() if number > 1]
        assert not doubled, f"ticks with more than one job: {doubled[:5]}"
        found = defaultdict(list)
        for schedule, tick in jobs:
            found[schedule].append(tick)
        assert {name: len(ticks) for name, ticks in found.items()} == {
            f"s{number:03}": limit for number in range(count)
        }
        app = self.app()
        stored = {info.name: info.fired for info in app.schedules.list()}
        app.close()
        assert set(stored.values()) == {limit}, stored
        return {name: sorted(ticks) for name, ticks in found.items()}


@contextmanager
def fleet(url: str, folder: Path, size: tuple[int, float, int]) -> Iterator[Fleet]:
    """Make a fleet whose workers end with the block."""
    made = Fleet(url, folder, size)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.kill()
        clocks.tidy(made.pids)


def jumps(ticks: list[str], period: float) -> list[float]:
    """Give the distances between ticks that are not one period, in seconds."""
    from_tick = [time_of(tick) for tick in ticks]
    gaps = [b - a for a, b in pairwise(from_tick)]
    return [gap / SECOND for gap in gaps if gap != round(period * SECOND)]


def time_of(tick: str) -> int:
    """Read a tick as microseconds."""
    return round((ticking.instant(tick) - ticking.ANCHOR).total_seconds() * SECOND)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a store of the kind that a test names."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def roomy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a store that has room for twenty workers' connections."""
    if request.param == "postgres":
        with Postgres(max_connections="300") as server:
            yield server.url
    elif request.param == "redis":
        yield str(request.getfixturevalue("redis_url"))
    else:
        yield f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.mark.crash
@pytest.mark.timeout(400)
@CLOCKS
@pytest.mark.parametrize("roomy", ["sqlite", "postgres", "redis"], indirect=True)
def test_twenty_workers_ten_thousand_ticks(roomy: str, tmp_path: Path) -> None:
    """However workers die and their clocks step, each tick is executed, by one job."""
    draw = random.Random(20_26)  # noqa: S311 -- which worker dies
    count, period, limit = size = (100, 0.6, 100)
    with fleet(roomy, tmp_path, size) as made:
        alive = [made.start(stepped=True) for _ in range(20)]
        begun, second = time.monotonic(), 0
        steps = {8: HOUR_S, 25: 0, 40: HOUR_S}
        while len(made.seen()) < count * limit and time.monotonic() - begun < 300:
            second += 1
            if second in steps:
                clocks.step(made.clock, steps[second])
            place = draw.randrange(len(alive))
            alive[place].kill()
            alive[place] = made.start(stepped=True)
            time.sleep(max(0.0, begun + second - time.monotonic()))
        made.until(count * limit, 30)
        found = made.judge()
        steps_met = {round(gap) for ticks in found.values() for gap in jumps(ticks, period)}
        # What lies in an hour that a clock stepped over is dropped; nothing else is.
        assert all(abs(gap - HOUR_S) < ticking.GRACE_S + 1 for gap in steps_met), steps_met


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "url",
    [
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("redis", marks=pytest.mark.slow),
    ],
    indirect=True,
)
@pytest.mark.parametrize("point", FIRE)
def test_a_worker_killed_while_it_fires(url: str, point: str, tmp_path: Path) -> None:
    """At each step of it: the next worker makes each tick's job, once."""
    cancels = point in ("fire.before_cancel", "fire.after_cancel")
    if cancels or (point == "fire.before_commit" and url.startswith("redis")):
        pytest.skip("the sweep comes to it; a script of Redis has no step in between")
    with fleet(url, tmp_path, (5, 0.2, 6)) as made:
        spec = Spec(point, "kill", 2)
        first = made.start(fault=str(spec))
        assert first.wait() == -signal.SIGKILL
        assert struck(first, spec)
        made.start()
        made.until(30, 60)
        assert all(not jumps(ticks, 0.2) for ticks in made.judge().values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "url",
    [
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("redis", marks=pytest.mark.slow),
    ],
    indirect=True,
)
@pytest.mark.parametrize("point", ["fire.before_write", "fire.after_commit"])
def test_a_worker_killed_while_it_fires_a_crowd(url: str, point: str, tmp_path: Path) -> None:
    """What was read and decided before its instant dies with it: each tick has its job, once."""
    count = CROWD + 8
    with fleet(url, tmp_path, (count, 0.5, 4)) as made:
        spec = Spec(point, "kill", 2)
        first = made.start(fault=str(spec))
        assert first.wait() == -signal.SIGKILL
        assert struck(first, spec)
        made.start()
        made.until(count * 4, 60)
        assert all(not jumps(ticks, 0.5) for ticks in made.judge().values())
