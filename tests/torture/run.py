"""One torture run: seats filled, the plan carried out, everything healed, all called to account."""

import asyncio
import secrets
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Final, TypeVar

import psycopg
from msgspec import Struct

from tests.faults import clocks
from tests.faults.far import PAGE
from tests.faults.scene import compare_sales, key_in
from tests.torture.hands import Hands
from tests.torture.judge import Found, Tally, call_to_account, with_others
from tests.torture.plan import TICK_S, Means, plan
from tests.torture.stage import Stage
from treadle import StoreError
from treadle.core.ids import id_text
from treadle.core.job import TERMINAL, JobRecord, JobState
from treadle.core.settings import load_settings
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.testing.faults import names_in

T = TypeVar("T")

PAGES_MAX: Final = 1_000
LOOK_S: Final = 1.0
DRAIN_S: Final = 900.0
STANDSTILL_S: Final = 90.0
"""So long nothing may end during the drain before it counts as hung."""
SEEN_AT_A_LOOK: Final = 200


class Wanted(Struct, frozen=True):
    """What to run."""

    store: str
    seconds: float
    seed: int
    workers: int = 4
    producers: int = 2
    appendfsync: str = "always"


class Done(Struct, frozen=True):
    """What came of it."""

    tally: Tally
    struck: dict[str, int]
    means: Means
    drained_s: float


class Eye(threading.Thread):
    """Looks at the store now and then: what waits, and which jobs have ended by now."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="torture-eye", daemon=True)
        self.stage = stage
        self.seen: dict[str, JobState] = {}
        self.changed: list[str] = []
        self.unfinished = -1
        """How many jobs have not ended, as of the last look; -1 before the first."""
        self.ended = 0
        self.looks = 0
        """How many looks have been answered."""
        self.stopping = threading.Event()

    def run(self) -> None:
        """Look until told to stop; a store that is away is looked at again."""
        while not self.stopping.wait(LOOK_S):
            with suppress(StoreError):
                ask(self.stage.url, self._look)
                self.looks += 1

    async def _look(self, store: Store) -> None:
        queues = await store.queues()
        counts: Counter[bool] = Counter()
        for queue in queues:
            for state, count in queue.counts.items():
                counts[JobState(state) in TERMINAL] += count
        self.ended, self.unfinished = counts[True], counts[False]
        for state in sorted(TERMINAL):
            for record in await store.find(Filter(state=state), limit=SEEN_AT_A_LOOK):
                id_ = id_text(record.id)
                if self.seen.setdefault(id_, record.state) is not record.state:
                    self.changed.append(f"{id_}: {self.seen[id_]}, then {record.state}")


def ask(url: str, question: Callable[[Store], Awaitable[T]]) -> T:
    """Ask the store on a connection of one's own."""

    async def main() -> T:
        store = open_store(url, "default", load_settings({"store_timeout": 5.0}, {}))
        await store.open()
        try:
            return await question(store)
        finally:
            await store.close()

    return asyncio.run(main())


def torture(stage: Stage, wanted: Wanted, say: Callable[[str], None]) -> Done:
    """Carry out a run on a stage."""
    prepare(stage)
    stage.fill(wanted.workers, wanted.producers)
    means = means_of(stage, wanted)
    hands, eye = Hands(stage, means), Eye(stage)
    eye.start()
    try:
        strike_all(stage, wanted, hands, eye, say)
        hands.heal()
        stage.stop("producer")
        say("healed; waiting until everything has ended")
        drained = drain(stage, eye)
    finally:
        hands.let_go()
        eye.stopping.set()
        eye.join()
    codes = stage.stop("worker")
    tally = judge_run(stage, hands, eye)
    slow = "" if drained < DRAIN_S else f"the backlog did not drain within {DRAIN_S:g} s"
    # One that was started again just now may not listen to signals yet.
    rude = "" if set(codes) <= {0, -signal.SIGTERM} else f"workers ended with {codes}"
    return Done(with_others(tally, slow, rude, *eye.changed), dict(hands.struck), means, drained)


def means_of(stage: Stage, wanted: Wanted) -> Means:
    """Say what this run has to strike with."""
    sells = wanted.store != "redis"
    points = sorted(n for n in names_in(wanted.store) if sells or not n.startswith("transaction."))
    return Means(
        store=wanted.store,
        workers=wanted.workers,
        producers=wanted.producers,
        points=tuple(point for point in points if not point.startswith("enqueue.")),
        clocks=clocks.library() is not None,
        disk=stage.disk is not None,
    )


def prepare(stage: Stage) -> None:
    """Make the store's tables, and the one that tasks write to."""

    async def migrate() -> None:
        store = open_store(stage.url, "default", load_settings({}, {}))
        # A file is made as it is opened, and no server is migrated by itself.
        await (store.open() if stage.store == "sqlite" else store.migrate())
        await store.close()

    asyncio.run(migrate())
    if stage.store == "sqlite":
        with closing(sqlite3.connect(stage.file)) as db:
            db.execute("create table sales (key text not null)")
    elif stage.store == "postgres":
        with psycopg.connect(stage.url, autocommit=True) as server:
            server.execute("create table sales_default (key text not null)")


def strike_all(
    stage: Stage, wanted: Wanted, hands: Hands, eye: Eye, say: Callable[[str], None]
) -> None:
    """Carry out the plan, tick by tick."""
    strokes = plan(wanted.seed, wanted.seconds, hands.means)
    begun = time.monotonic()
    for tick in range(int(wanted.seconds / TICK_S)):
        time.sleep(max(0.0, begun + tick * TICK_S - time.monotonic()))
        if time.monotonic() - begun > wanted.seconds:
            break
        stage.tend()
        hands.take_back()
        while strokes and strokes[0].tick <= tick:
            hands.strike(strokes.pop(0))
        if tick % int(30 / TICK_S) == 0:
            say(f"{tick * TICK_S:5.0f} s: {sum(hands.struck.values())} strokes, "
                f"{eye.ended} jobs have ended, {eye.unfinished} not yet")  # fmt: skip


def drain(stage: Stage, eye: Eye) -> float:
    """Wait until every job has ended; give the seconds, `DRAIN_S` when it does not come to that."""
    begun = moved = time.monotonic()
    before, last, clear = -1, eye.looks, 0
    while time.monotonic() - begun < DRAIN_S and time.monotonic() - moved < STANDSTILL_S:
        for seat in stage.of("worker"):
            seat.tend()
        time.sleep(LOOK_S)
        # Twice nothing: the first look may have begun before the last job was written.
        if eye.looks != last:
            last, clear = eye.looks, clear + 1 if eye.unfinished == 0 else 0
        if clear > 1:
            return time.monotonic() - begun
        if eye.unfinished != before:
            before, moved = eye.unfinished, time.monotonic()
    return DRAIN_S


def judge_run(stage: Stage, hands: Hands, eye: Eye) -> Tally:
    """Call every job to account."""
    found = ask(stage.url, all_jobs)
    kills = hands.kills if stage.store == "redis" and stage.appendfsync != "always" else ()
    tally = call_to_account(stage.ledger.entries(), found, eye.seen, kills)
    return with_others(tally, sales_broken(stage, found), file_broken(stage))


async def all_jobs(store: Store) -> list[Found]:
    """Read every job with its attempts."""
    records: list[JobRecord] = []
    for _ in range(PAGES_MAX):
        before = records[-1].id if records else None
        page = await store.find(Filter(), limit=PAGE, before=before)
        if not page:
            break
        records += page
    else:
        raise AssertionError(f"more than {PAGES_MAX * PAGE:,} jobs")
    found = []
    for one in records:
        attempts = await store.attempts(one.id)
        successes = sum(attempt.outcome == "succeeded" for attempt in attempts)
        words = (id_text(one.id), key_in(one.args), one.task, one.state)
        found.append(Found(*words, successes, one.reason))
    return found


def sales_broken(stage: Stage, found: list[Found]) -> str:
    """Say where what tasks have written is not what succeeded."""
    if stage.store == "sqlite":
        with closing(sqlite3.connect(stage.file)) as db:
            sold = db.execute("select key from sales").fetchall()
    elif stage.store == "postgres":
        with psycopg.connect(stage.url) as server:
            sold = server.execute("select key from sales_default").fetchall()
    else:
        return ""
    try:
        compare_sales([(job.key, job.task, job.state) for job in found], [key for (key,) in sold])
    except AssertionError as error:
        return f"what was sold is not what succeeded: {str(error)[:500]}"
    return ""


def file_broken(stage: Stage) -> str:
    """Say what SQLite itself finds wrong with its file."""
    if stage.store != "sqlite":
        return ""
    with closing(sqlite3.connect(stage.file)) as db:
        [said] = db.execute("pragma integrity_check").fetchone()
    return "" if said == "ok" else f"the file is damaged: {said}"


def new_seed() -> int:
    """Draw a seed for a run that names none."""
    return secrets.randbits(31)
