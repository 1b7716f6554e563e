"""A scene on a server store: the same workload, seen through the store's own verbs.

Where `Scene` looks into its file, `FarScene` asks the store on a connection of its own, in a
namespace that no other test uses.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self, TypeVar

import psycopg
import pytest

from tests.faults import workload
from tests.faults.scene import QUICK, Scene, compare_sales, finish, key_in
from treadle import JobState, Treadle
from treadle.core.job import TERMINAL, JobRecord
from treadle.core.settings import load_settings
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.testing.ledger import Account, Stored, judge
from treadle.testing.servers import Postgres, Redis

T = TypeVar("T")

PAGE: Final = 500
PAGES_MAX: Final = 400
LONG_S: Final = 60.0
"""How long the start of a hundred jobs may take."""
EACH_STORE: Final = (
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.slow),
    pytest.param("redis", marks=pytest.mark.slow),
)
"""Values of a parameter: the file's store in each run of the suite, servers in the slow one."""


class FarScene(Scene):
    """A namespace of a server store, and what goes on around it."""

    LOOK_S = 0.05
    """Each look opens a store, which takes the processor from those that are looked at."""

    def __init__(self, folder: Path, url: str, settings: Mapping[str, str] = QUICK) -> None:
        self.namespace = f"far_{secrets.token_hex(4)}"
        super().__init__(folder, {**settings, "TREADLE_NAMESPACE": self.namespace})
        self.url = url
        self.direct = url
        """How this process reaches the server, whatever lies between it and the others."""
        self.sells = url.startswith("postgres")
        """Whether the tasks' own tables can lie beside the store's."""
        self._sales = f"sales_{self.namespace}"

    def prepare(self) -> Self:
        """Make the store's tables where it has some."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = load_settings({}, {})

        async def migrate() -> None:
            store = open_store(self.direct, self.namespace, settings)
            await store.migrate()
            await store.close()

        asyncio.run(migrate())
        if self.sells:
            with psycopg.connect(self.direct, autocommit=True) as db:
                db.execute(f"create table {self._sales} (key text not null)".encode())
        return self

    def app(self) -> Treadle:
        """Make an application on this scene's store, for this process."""
        return workload.build(self.direct, self.ledger, namespace=self.namespace)

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        """Ask the store directly, on a connection of its own."""

        async def main() -> T:
            store = open_store(self.direct, self.namespace, load_settings({}, {}))
            await store.open()
            try:
                return await question(store)
            finally:
                await store.close()

        return asyncio.run(main())

    def unfinished(self) -> int:
        """Count the jobs that have not ended."""
        queues = self.ask(lambda store: store.queues())
        ended = {state.value for state in TERMINAL}
        return sum(
            count for queue in queues for state, count in queue.counts.items() if state not in ended
        )

    def running(self, task: str) -> int:
        """Count the running jobs of a task."""
        which = Filter(state=JobState.RUNNING, task=task)
        return len(self.ask(lambda store: store.find(which, limit=PAGE)))

    def places(self, gate: str) -> tuple[int, int]:
        """Tell how many jobs hold a place of a gate, and how many wait at it."""
        found = self.ask(lambda store: store.gates(only=gate))
        return (found[0].used, found[0].waiting) if found else (0, 0)

    def records(self) -> list[JobRecord]:
        """Read every job."""

        async def all_of(store: Store) -> list[JobRecord]:
            found: list[JobRecord] = []
            for _ in range(PAGES_MAX):
                before = found[-1].id if found else None
                page = await store.find(Filter(), limit=PAGE, before=before)
                if not page:
                    return found
                found += page
            raise AssertionError(f"more than {PAGES_MAX * PAGE:,} jobs")

        return self.ask(all_of)

    def stored(self) -> Iterator[Stored]:
        """Give every job of the workload as the store has it, with its ends as it recorded them."""
        records = self.records()

        async def ends_of(store: Store) -> list[int]:
            counts = []
            for record in records:
                attempts = await store.attempts(record.id)
                counts.append(sum(one.outcome == "succeeded" for one in attempts))
            return counts

        for record, ends in zip(records, self.ask(ends_of), strict=True):
            # Other ends than a success are in the job alone: an attempt may fail more than once.
            yield Stored(key_in(record.args), record.state, max(ends, 1))

    def account(self) -> Account:
        """Call every job to account."""
        self.check_sales()
        return judge(self.ledger.entries(), self.stored())

    def check_sales(self) -> None:
        """Make sure that what tasks have written in their transactions is what succeeded."""
        if self.sells:
            jobs = [(key_in(one.args), one.task, one.state) for one in self.records()]
            compare_sales(jobs, self.sold())

    def sold(self) -> list[str]:
        """Give the key of each sale, as often as it was made."""
        with psycopg.connect(self.direct) as db:
            query = f"select key from {self._sales}"  # noqa: S608 -- a name of ours
            return [key for (key,) in db.execute(query.encode()).fetchall()]


def away(scene: FarScene, server: Postgres | Redis, seconds: float, *, jobs: int) -> None:
    """Let two workers' jobs run while the store is away for so long: they end half-way through it.

    None runs twice, none fails, and none gets a crash.
    """
    go, keys = scene.folder / "go", [f"held{n}" for n in range(jobs)]
    scene.enqueue("stubborn", *keys, rest=(str(go),))
    workers = [scene.worker("--slots", str(jobs // 2)) for _ in range(2)]
    scene.until(lambda: all(scene.started(key) for key in keys), "every job runs", LONG_S)
    server.kill()
    time.sleep(seconds / 2)  # What passes is the lease of real processes.
    go.touch()
    time.sleep(seconds / 2)
    server.start()
    account = finish(scene, *workers)
    assert account.overrun == []
    assert {(one.state, one.crashes) for one in scene.records()} == {(JobState.SUCCEEDED, 0)}


def scene_on(
    store: str,
    folder: Path,
    request: pytest.FixtureRequest,
    settings: Mapping[str, str] = QUICK,
) -> Scene:
    """Prepare a scene on one of `EACH_STORE`."""
    if store == "sqlite":
        return Scene(folder, settings).prepare()
    return FarScene(folder, request.getfixturevalue(f"{store}_url"), settings).prepare()
