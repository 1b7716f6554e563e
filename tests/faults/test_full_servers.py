"""Servers that are full: no block left on their disk, no connection left to give.

Each is a typed error that says what is wrong; workers wait, and all goes on by itself when there
is room again.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.conformance.looks import look, losing
from tests.faults.far import FarScene
from tests.faults.scene import PATIENT, QUICK
from tests.faults.test_servers import IMPATIENT
from treadle import StoreUnavailable
from treadle.testing.servers import Postgres, Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SETTINGS: Final = QUICK | IMPATIENT | PATIENT | {"TREADLE_LEASE": "10"}
FEW: Final = 12
LARGE: Final = secrets.token_hex(100_000)
"""What no server can make smaller."""
FILLING_MAX: Final = 2_000


@pytest.fixture
def disk() -> Iterator[Path]:
    """Mount a disk of 160 MB that a server of another user can reach, by a path that is short."""
    disk = Path(tempfile.mkdtemp(prefix="treadle-disk-"))
    disk.chmod(0o711)
    options = "size=160m,mode=711"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False, capture_output=True
    )
    if done.returncode:
        disk.rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    disk.rmdir()


def fill(disk: Path, spare: int) -> Path:
    """Take the disk's blocks but for so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - spare))
    return filler


def fill_up(scene: FarScene) -> None:
    """Enqueue large jobs until the server refuses; what it accepted is acknowledged."""
    app = scene.app()
    try:
        for n in range(FILLING_MAX):
            scene.ledger.write("TRY", f"large{n}")
            app.named("large").using(delay=3_600).enqueue(f"large{n}", LARGE)
            scene.ledger.write("OK", f"large{n}")
    finally:
        app.close()


def check(scene: FarScene, before: list[str]) -> None:
    """Make sure that what was acknowledged is there, and that what could run has run once."""
    keys = {job.key for job in scene.stored()}
    known = {entry.key for entry in scene.ledger.entries() if entry.word == "OK"}
    assert known - keys == set()
    assert {scene.started(key) for key in before} == {1}


def part_log(server: Postgres, folder: Path) -> None:
    """Move the server's write-ahead log off its disk, as many do."""
    log = server.folder / "data" / "pg_wal"
    shutil.copytree(log, folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, server.user or -1, server.group or -1)
    shutil.rmtree(log)
    log.symlink_to(folder)


@pytest.fixture
def apart() -> Iterator[Path]:
    """Name a folder on another disk that a server of another user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-log-"))
    folder.chmod(0o711)
    yield folder / "pg_wal"
    shutil.rmtree(folder)


def test_postgres_on_a_full_disk_refuses_and_goes_on(
    tmp_path: Path, disk: Path, apart: Path
) -> None:
    """53100 is an error that says so; the worker waits and goes on, and nothing is lost."""
    server = Postgres(disk)
    part_log(server, apart)
    with server, FarScene(tmp_path / "scene", server.url, SETTINGS).prepare() as scene:
        go = tmp_path / "go"
        scene.enqueue("stubborn", "held", rest=(str(go),))
        worker = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "a job runs")
        filler = fill(disk, 4_000_000)
        with pytest.raises(StoreUnavailable, match="No space left"):
            fill_up(scene)
        go.touch()
        filler.unlink()
        scene.enqueue("touch", "after")
        scene.until(lambda: scene.started("after") == 1, "the worker goes on")
        scene.until(lambda: scene.running("stubborn") == 0, "the job is settled")
        assert scene.stop(worker) == 0, worker.said
        check(scene, ["held", "after"])


def test_postgres_that_cannot_write_its_log_loses_nothing(tmp_path: Path, disk: Path) -> None:
    """It stops at once, by its own design; started again with room, all it answered is there."""
    words = {"max_wal_size": "48MB", "min_wal_size": "32MB"}
    with (
        Postgres(disk, **words) as server,
        FarScene(tmp_path / "scene", server.url, SETTINGS).prepare() as scene,
    ):
        go = tmp_path / "go"
        scene.enqueue("stubborn", "held", rest=(str(go),))
        worker = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "a job runs")
        filler = fill(disk, 4_000_000)
        with pytest.raises(StoreUnavailable):
            fill_up(scene)
        filler.unlink()
        server.end()
        server.start()
        go.touch()
        scene.enqueue("touch", "after")
        scene.until(lambda: scene.started("after") == 1, "the worker goes on")
        scene.until(lambda: scene.running("stubborn") == 0, "the job is settled")
        assert scene.stop(worker) == 0, worker.said
        check(scene, ["held", "after"])


def test_redis_on_a_full_disk_refuses_and_goes_on(tmp_path: Path, disk: Path) -> None:
    """It takes no writes while its file cannot grow, and says so; then nothing is lost."""
    with (
        Redis("--appendfsync", "everysec", place=disk) as server,
        FarScene(tmp_path / "scene", server.url, SETTINGS).prepare() as scene,
    ):
        go = tmp_path / "go"
        scene.enqueue("stubborn", "held", rest=(str(go),))
        worker = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "a job runs")
        filler = fill(disk, 4_000_000)
        with pytest.raises(StoreUnavailable, match="cannot write its files"):
            fill_up(scene)
        assert losing(look(server.url)) == {"aof_last_write_status"}
        go.touch()
        scene.until(lambda: "the store does not answer" in worker.said, "the worker meets it")
        filler.unlink()
        scene.until(lambda: "the store answers again" in worker.said, "the worker goes on")
        scene.enqueue("touch", "after")
        scene.until(lambda: scene.started("after") == 1, "new work is done")
        scene.until(lambda: scene.running("stubborn") == 0, "the job is settled")
        assert scene.stop(worker) == 0, worker.said
        check(scene, ["held", "after"])


def take_all(taken: contextlib.ExitStack, url: str) -> None:
    """Connect until the server refuses."""
    for _ in range(FEW + 1):
        taken.enter_context(psycopg.connect(url))


def refused(taken: contextlib.ExitStack, scene: FarScene) -> str:
    """Take every connection, and give what a producer is told then.

    The worker may give one up after it was looked for: then a producer had it, and what is free
    is taken again.
    """
    for n in range(FEW):
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            take_all(taken, scene.url)
        scene.ledger.write("TRY", f"refused{n}")
        with contextlib.closing(scene.app()) as app:
            try:
                app.enqueue("touch", f"refused{n}")
            except StoreUnavailable as error:
                return str(error)
    raise AssertionError(f"{FEW} producers found a free connection")


def test_a_server_without_a_free_connection_says_so_and_serves_later(tmp_path: Path) -> None:
    """At `max_connections` a producer is told so, typed; when one is free again it is served."""
    with (
        Postgres(max_connections=str(FEW)) as server,
        FarScene(tmp_path, server.url, SETTINGS).prepare() as scene,
    ):
        worker = scene.worker()
        scene.until(lambda: worker.ready, "the worker is ready")
        with contextlib.ExitStack() as taken:
            assert "connections" in refused(taken, scene)
        scene.enqueue("touch", *(f"later{n}" for n in range(20)))
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        account = scene.account()
        assert account.sound, account
