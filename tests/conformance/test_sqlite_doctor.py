"""The doctor on SQLite files, and what it asks of every store: queues, workers, clocks."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.looks import look, losing
from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.outcome import Failed
from treadle.core.settings import Settings
from treadle.store.contract import QueueRecord, Store, WorkerRecord
from treadle.store.doctor import judge_workers
from treadle.store.findings import Finding, Level, judge_clock
from treadle.store.open import open_store
from treadle.store.sqlite.engine import doctor
from treadle.testing.conformance.kit import ERROR, Hand, new_job, settlement, worker_info

MOUNTS = """22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /srv/share\\040one rw - nfs4 server:/export rw,vers=4.2
41 40 0:36 / /srv/share\\040one/local rw - tmpfs tmpfs rw
"""


@pytest.fixture
def url(file: Path) -> str:
    """Give the URL of a new file."""
    store = open_store(f"sqlite:///{file}", "default", Settings())
    store.open_now()
    store.close_now()
    return f"sqlite:///{file}"


def test_a_sound_file_loses_nothing(url: str) -> None:
    """All is well, and said with its values."""
    found = look(url)
    assert losing(found) == set()
    assert [found[name].found for name in ("synchronous", "journal_mode", "quick_check")] == [
        "full", "wal", "ok",
    ]  # fmt: skip
    assert found["clock"].level is Level.OK


def test_a_damaged_file_is_found(url: str, file: Path) -> None:
    """Pages overwritten in the middle of the file."""
    store = open_store(url, "default", Settings())
    store.open_now()
    store.enqueue_now(new_id(), [new_job(args=b"x" * 900) for _ in range(300)])
    store.close_now()
    with sqlite3.connect(file) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        root = db.execute(
            "select rootpage from sqlite_schema where name = 'treadle_jobs'"
        ).fetchone()[0]
        size = db.execute("pragma page_size").fetchone()[0]
    db.close()
    with file.open("r+b") as raw:
        raw.seek((root - 1) * size + 12)
        raw.write(b"\xff" * 60)
    found = asyncio.run(_quick(file))
    assert (found.name, found.level) == ("quick_check", Level.LOSES)


async def _quick(file: Path) -> Finding:
    db = sqlite3.connect(file)
    try:
        return doctor.look(db, 0, 1, deep=True)[-1]
    finally:
        db.close()


def test_a_check_that_takes_too_long_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unseen then, and the store answers as before."""
    store = open_store(url, "default", Settings())
    store.open_now()
    store.enqueue_now(new_id(), [new_job(args=b"x" * 900) for _ in range(900)])
    store.close_now()
    monkeypatch.setattr(doctor, "CHECK_S", -1.0)
    monkeypatch.setattr(doctor, "_STEPS", 10)
    assert look(url)["quick_check"].level is Level.UNSEEN


def test_a_connection_that_does_not_wait_for_the_disk(file: Path, url: str) -> None:  # noqa: ARG001
    """Whoever turned it off, and whoever took the log away, is found out."""
    db = sqlite3.connect(file)
    db.execute("pragma synchronous = off")
    db.execute("pragma journal_mode = delete")
    found = {f.name: f.level for f in doctor.look(db, 0, 1, deep=False)}
    db.close()
    assert found["synchronous"] is Level.LOSES
    assert found["journal_mode"] is Level.WARNING


def test_rights_and_room(url: str, file: Path) -> None:
    """A file that others may write is told, and so is a disk that fills up."""
    file.chmod(0o666)
    assert look(url)["rights"].level is Level.WARNING
    file.chmod(0o644)
    assert look(url)["rights"].level is Level.NOTE
    assert doctor.judge_free(100 * 2**20).level is Level.WARNING
    assert doctor.judge_wal(300 * 2**20).level is Level.WARNING


@pytest.mark.parametrize(
    ("path", "level", "kind"),
    [
        ("/srv/share one/jobs.db", Level.LOSES, "nfs4"),
        ("/srv/share one/local/jobs.db", Level.OK, "tmpfs"),
        ("/var/lib/jobs.db", Level.OK, "ext4"),
    ],
)
def test_a_network_file_system_is_found(path: str, level: Level, kind: str) -> None:
    """By the innermost mount that the file is on."""
    found = doctor.judge_file_system(Path(path), MOUNTS)
    assert (found.level, found.found) == (level, kind)
    assert doctor.judge_file_system(Path(path), None).level is Level.UNSEEN


def test_clocks_that_are_apart() -> None:
    """More than a second is told with its direction; the time of the question is no skew."""
    assert judge_clock(10 * SECOND, 12 * SECOND, 15 * SECOND).level is Level.OK
    behind = judge_clock(10 * SECOND, 8 * SECOND, 11 * SECOND)
    ahead = judge_clock(10 * SECOND, 14 * SECOND, 11 * SECOND)
    assert (behind.level, behind.found) == (Level.WARNING, "2.0 s behind this machine")
    assert (ahead.level, ahead.found) == (Level.WARNING, "3.0 s ahead of this machine")


def test_a_file_whose_clock_is_ahead(url: str) -> None:
    """It was used while this machine's clock was wrong: jobs are due by the newest time it saw."""

    async def work() -> None:
        ahead = MovedClock(time.time_ns() // 1000 + 3_600 * SECOND)
        store = open_store(url, "default", Settings(), ahead)
        await store.open()
        await store.enqueue(new_id(), [new_job()])
        await Hand(store, worker_info("w1")).register()
        await store.close()

    asyncio.run(work())
    assert (look(url)["clock"].level, look(url)["clock"].found[-5:]) == (Level.WARNING, "chine")


async def _scene(store: Store) -> None:
    await store.open()
    hand = Hand(store, worker_info("w1"))
    await hand.register()
    hour_ago = time.time_ns() // 1000 - 3_600 * SECOND
    await store.enqueue(new_id(), [new_job(task="odd")], now=hour_ago)
    [claim] = await hand.claim(1)
    parked = Failed(ERROR, retryable=False)
    await hand.settle(settlement(claim, parked))
    await store.leave("w1")
    await store.enqueue(new_id(), [new_job(queue="slow")], now=hour_ago)
    await store.enqueue(new_id(), [new_job(queue="shut")])
    await store.pause("shut")
    await store.close()


def test_what_waits_and_who_is_there(url: str) -> None:
    """A paused queue, an old ready job, nobody to run it, a dead letter: all are told."""
    asyncio.run(_scene(open_store(url, "default", Settings())))
    found = look(url)
    assert (found["paused queues"].level, found["paused queues"].found[:4]) == (
        Level.WARNING, "shut",
    )  # fmt: skip
    assert found["workers"].found == "none; 1 jobs wait"
    assert found["oldest ready job"].level is Level.WARNING
    assert "in queue slow" in found["oldest ready job"].found
    assert found["dead letters"].found == "1"
    assert losing(found) == set()


def test_a_worker_that_has_not_beaten_for_its_lease_is_named(url: str) -> None:
    """By its id and by how long it is silent."""

    async def workers() -> tuple[Sequence[WorkerRecord], Sequence[QueueRecord]]:
        store = open_store(url, "default", Settings())
        await store.open()
        long_ago = time.time_ns() // 1000 - 3_600 * SECOND
        await store.register(worker_info("silent"), now=long_ago)
        try:
            return await store.workers(), await store.queues()
        finally:
            await store.close()

    records, queues = asyncio.run(workers())
    late = [WorkerRecord(r.info, r.started_at, r.info.lease + SECOND, 0) for r in records]
    found = judge_workers(late, queues)
    assert found.level is Level.WARNING
    assert "silent" in found.found
