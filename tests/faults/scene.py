"""A scene: one database file, its ledger, and the processes that work on it.

`Scene` starts workers and producers as real processes, waits (always bounded) until what is
waited for is true in the file, and calls the jobs to account. A trigger in the file counts
each write of a terminal state, so "settled once" is not taken from treadle's own word.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from tests.faults import workload
from tests.faults.frozen import freeze, freeze_beside
from treadle import Every, JobState, Treadle
from treadle.client.schedules.options import ScheduleOptions, make_plan
from treadle.core.ids import id_bytes, new_id
from treadle.core.job import NewJob
from treadle.core.schedule.record import Schedule, write_schedule
from treadle.store.open import open_store
from treadle.store.parts.scheduled import Move
from treadle.testing.faults import Spec, reached
from treadle.testing.ledger import Account, Entry, Ledger, Stored, judge

PROGRAM: Final = Path(workload.__file__)
ROOT: Final = PROGRAM.parents[2]
SOURCES: Final = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
"""Where the processes import treadle and the tests from: this very tree."""
WAIT_S: Final = 60.0
"""How long a scene waits for what must come: ten times what it takes, as on a busy machine."""
QUICK: Final = {
    "TREADLE_LEASE": "1.5",
    "TREADLE_BEAT": "0.1",
    "TREADLE_SUSPECT_AFTER": "0.2",
}
"""Settings under which a lease ends within the patience of a test."""
PATIENT: Final = {"TREADLE_SUSPECT_AFTER": "3"}
"""The second look comes late enough for a busy machine to beat first after an outage."""

_WITNESS: Final = """
create table witness (job blob not null, state text not null);
create table sales (key text not null);
create trigger witness_ends after update of state on treadle_jobs
when new.state in ('succeeded', 'failed', 'cancelled', 'expired')
    and old.state not in ('succeeded', 'failed', 'cancelled', 'expired')
begin insert into witness values (new.id, new.state); end;
create trigger witness_returns after update of state on treadle_jobs
when old.state in ('succeeded', 'failed', 'cancelled', 'expired') and new.state <> old.state
begin insert into witness values (new.id, 'left ' || old.state); end;
"""


class Process:
    """A worker or a producer of a scene."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as sink:
            self.child = subprocess.Popen(
                command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=sink,
                stderr=sink,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """What it has logged and printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or by a signal."""
        return self.child.poll() is not None

    @property
    def ready(self) -> bool:
        """Whether this worker has started: from then on signals stop it gracefully."""
        return "is ready" in self.said

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.child.send_signal(number)

    def wait(self, timeout: float = WAIT_S) -> int:
        """Wait for its end and give its exit code, negative for a signal."""
        return self.child.wait(timeout)

    def freeze(self) -> None:
        """Stop it with SIGSTOP, and wait until all of it stands still."""
        freeze(self.child)

    def kill(self) -> None:
        """End it for certain, stopped or not."""
        if not self.ended:
            self.child.kill()
        self.child.wait(WAIT_S)


class Scene:
    """A database file with its witness, and what goes on around it."""

    LOOK_S = 0.01
    """How long it rests between two looks at what it waits for."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = QUICK) -> None:
        self.folder = folder
        self.file = folder / "jobs.db"
        self.url = f"sqlite:///{self.file}"
        self.ledger = Ledger(folder / "ledger.txt")
        self.logs = folder
        """Where the processes' output goes."""
        self.settings = dict(settings)
        self.processes: list[Process] = []

    def prepare(self) -> Self:
        """Make the file and its witness."""
        self.folder.mkdir(parents=True, exist_ok=True)
        app = self.app()
        _ = app.store
        app.close()
        with contextlib.closing(sqlite3.connect(self.file)) as db:
            db.executescript(_WITNESS)
        return self

    def copy_to(self, folder: Path) -> "Scene":
        """Copy the whole scene, live files of dead workers included."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.log"))
        return Scene(folder, self.settings)

    def app(self) -> Treadle:
        """Make an application on this scene's file, for this process."""
        return workload.build(self.url, self.ledger)

    # Jobs

    def enqueue(self, task: str, *keys: str, rest: tuple[Any, ...] = ()) -> list[str]:
        """Enqueue a job of a task for each key, acknowledged in the ledger; return the ids."""
        app = self.app()
        self.ledger.write("TRY", *keys)
        jobs = app.named(task).enqueue_many([(key, *rest) for key in keys])
        self.ledger.write("OK", *keys)
        app.close()
        return [job.id for job in jobs]

    def schedule(self, name: str, key: str, *, cancels: str | None = None) -> None:
        """Store a schedule that is due at once, for one job; its tick cancels a job of before."""
        app = self.app()
        self.ledger.write("TRY", key)
        options: ScheduleOptions = {"args": (key,), "limit": 1, "overlap": "cancel_running"}
        plan = make_plan(Every(3_600), name, app.named("touch"), options)
        job = None if cancels is None else id_bytes(cancels)
        schedule = Schedule(name=name, plan=plan, incarnation=name, cursor=0, job=job)
        store = open_store(self.url, app.settings.namespace, app.settings)

        async def add() -> None:
            await store.open()
            assert await store.fire([Move(name, 0, write_schedule(schedule), 1)]) == [True]
            await store.close()

        asyncio.run(add())
        self.ledger.write("OK", key)
        app.close()

    def add_old_records(self, batches: int) -> None:
        """Add jobs that ended long ago, 1,000 a batch, for `prune` to find."""

        async def add() -> None:
            app = self.app()
            store = open_store(self.url, "default", app.settings)
            await store.open()
            long_ago = time.time_ns() // 1000 - 400 * 86_400_000_000
            for _ in range(batches):
                old = [NewJob(new_id(), "old", b"[[],{}]", queue="old") for _ in range(1000)]
                await store.enqueue(new_id(), old, now=long_ago)
                await store.cancel([job.id for job in old], now=long_ago)
            await store.close()

        asyncio.run(add())
        self.query(
            "delete from witness where job in (select id from treadle_jobs where task = 'old')"
        )

    # Processes

    def start(self, *words: str, fault: str | None = None, **environ: str) -> Process:
        """Start the workload program with these words, under a fault if one is named."""
        command = [sys.executable]
        if fault is not None:
            command += ["-m", "treadle.testing.faults", fault, "--"]
        role, *options = words
        command += [str(PROGRAM), role, self.url, str(self.ledger.path), *options]
        return self._begin(command, role, environ)

    def program(self, file: Path, *options: str, **environ: str) -> Process:
        """Start a program of the test's own, told the store, the ledger and these words."""
        command = [sys.executable, str(file), self.url, str(self.ledger.path), *options]
        return self._begin(command, file.stem, environ)

    def _begin(self, command: list[str], role: str, environ: Mapping[str, str]) -> Process:
        outside = {k: v for k, v in os.environ.items() if not k.startswith("TREADLE_")}
        log = self.logs / f"{len(self.processes)}-{role}.log"
        process = Process(
            command, {**outside, "PYTHONPATH": SOURCES, **self.settings, **environ}, log
        )
        self.processes.append(process)
        return process

    def worker(self, *options: str, fault: str | None = None, **environ: str) -> Process:
        """Start a worker."""
        return self.start("worker", *options, fault=fault, **environ)

    def stop(self, worker: Process) -> int:
        """Stop a worker gracefully, once it has started; give its exit code."""
        self.until(lambda: worker.ready or worker.ended, "the worker is ready")
        worker.send(signal.SIGTERM)
        return worker.wait()

    def freeze(self, worker: Process) -> None:
        """Stop a worker in a moment in which it does not hold the file's write lock."""
        freeze_beside(worker.child, self.file)

    def end(self) -> None:
        """End every process that is left."""
        for process in self.processes:
            process.kill()

    def __enter__(self) -> Self:
        """Begin; the processes end with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process that is left."""
        self.end()

    # What is true in the file

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the file directly."""
        with contextlib.closing(sqlite3.connect(self.file, timeout=WAIT_S)) as db, db:
            return db.execute(statement, values).fetchall()

    def unfinished(self) -> int:
        """Count the jobs that have not ended."""
        [(count,)] = self.query(
            "select count(*) from treadle_jobs "
            "where state not in ('succeeded', 'failed', 'cancelled', 'expired')"
        )
        return int(count)

    def running(self, task: str) -> int:
        """Count the running jobs of a task."""
        [(count,)] = self.query(
            "select count(*) from treadle_jobs where state = 'running' and task = ?", task
        )
        return int(count)

    def until(self, true: Callable[[], object], what: str, timeout: float = WAIT_S) -> None:
        """Wait until something is true; what was waited for is the error."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {p.log.name}\n{p.said[-3000:]}" for p in self.processes)
                raise AssertionError(f"not within {timeout:g} s: {what}\n{logs}")
            time.sleep(self.LOOK_S)

    def until_done(self, timeout: float = WAIT_S) -> None:
        """Wait until every job has ended."""
        self.until(lambda: self.unfinished() == 0, "every job has ended", timeout)

    def places(self, gate: str) -> tuple[int, int]:
        """Tell how many jobs hold a place of a gate, and how many wait at it."""
        [held] = self.query("select coalesce(sum(used), 0) from treadle_gates where name = ?", gate)
        [waits] = self.query(
            "select count(*) from treadle_jobs where state = 'blocked' and waits_at = ?", gate
        )
        return int(held[0]), int(waits[0])

    def started(self, key: str) -> int:
        """Count how often the job of a key was started."""
        return sum(e.word == "START" and e.key == key for e in self.ledger.entries())

    def stored(self) -> Iterator[Stored]:
        """Give every job of the workload as the file has it."""
        rows = self.query(
            "select args, state, (select count(*) from witness where job = id) "
            "from treadle_jobs where task <> 'old'"
        )
        for args, state, ends in rows:
            yield Stored(key_in(args), JobState(state), ends)

    def account(self) -> Account:
        """Call every job to account, and check the file itself."""
        assert self.query("pragma integrity_check") == [("ok",)]
        self.check_sales()
        return judge(self.ledger.entries(), self.stored())

    def check_sales(self) -> None:
        """Make sure that what tasks have written in their transactions is what succeeded.

        A job that was enqueued in one is there with it, or not at all.
        """
        rows = self.query("select args, task, state from treadle_jobs where task <> 'old'")
        jobs = [(key_in(args), task, state) for args, task, state in rows]
        compare_sales(jobs, self.sold())

    def sold(self) -> list[str]:
        """Give the key of each sale, as often as it was made."""
        return [key for (key,) in self.query("select key from sales")]


def compare_sales(jobs: Iterable[tuple[str, str, str]], sales: Iterable[str]) -> None:
    """Compare the jobs (key, task, state) that sold with what is sold and what is to be shipped."""
    known = list(jobs)
    sold = sorted(k for k, task, state in known if state == "succeeded" and task.startswith("sell"))
    assert sorted(sales) == sold
    shipped = sorted(k.removesuffix("/ship") for k, _, _ in known if k.endswith("/ship"))
    assert shipped == sold


def key_in(args: bytes) -> str:
    """Read the key out of stored arguments: the first one after the version."""
    _, [key, *_] = msgspec.json.decode(args)
    assert isinstance(key, str), f"no key in {args!r}"
    return key


def check_crowd(entries: Iterable[Entry]) -> None:
    """Make sure by the jobs' own marks that no more bounded ones ran at once than may.

    What a process that was killed had begun counts until its last line.
    """
    lines = list(entries)
    last = {entry.pid: place for place, entry in enumerate(lines)}
    begun: dict[tuple[str, int], int] = {}
    for place, entry in enumerate(lines):
        if not entry.key.startswith("bounded"):
            continue
        if entry.word == "END":
            begun.pop((entry.key, entry.pid), None)
        elif entry.word == "START":
            begun[entry.key, entry.pid] = entry.pid
            crowd = [key for key, pid in begun.items() if last[pid] >= place]
            assert len(crowd) <= workload.BOUND, crowd


def struck(process: Process, spec: Spec) -> bool:
    """Tell whether a process met its fault."""
    return reached(process.said, spec)


def finish(scene: Scene, *workers: Process, patience: float = WAIT_S) -> Account:
    """Wait until every job has ended, stop the workers gracefully, call the jobs to account."""
    scene.until_done(patience)
    for worker in workers:
        assert scene.stop(worker) == 0, worker.said
    account = scene.account()
    assert account.sound, account
    return account


def finish_crowd(scene: Scene, fault: str | None = None) -> None:
    """Let a worker end every job, among them bounded ones that may not crowd their gate."""
    finish(scene, scene.worker(fault=fault))
    check_crowd(scene.ledger.entries())
    assert scene.places("bounded") == (0, 0)


def kill_at(scene: Scene, spec: Spec) -> bool:
    """Let a worker die at a point and another one end every job; tell whether the first came to it.

    What is only reached when a worker stops is reached after the jobs have ended.
    """
    worker = scene.worker(fault=str(spec))
    scene.until(lambda: worker.ended or scene.unfinished() == 0, f"{spec} strikes or all is done")
    if not worker.ended:
        scene.stop(worker)
    met = struck(worker, spec)
    assert worker.wait() == (-signal.SIGKILL if met else 0), worker.said
    finish_crowd(scene)
    return met


def check_batches(scene: Scene) -> None:
    """Make sure that each batch of a producer is there whole or not at all."""
    batches = Counter(job.key.split(".", maxsplit=1)[0] for job in scene.stored() if "." in job.key)
    assert set(batches.values()) <= {workload.BATCH}, batches
