"""Files at fault: a full disk, wrong rights, no database, a deleted file, a lock held for long.

Each is a clear error that says what to do, nothing is lost or half-written, and when the
fault is over the work goes on.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import QUICK, Scene
from tests.faults.test_lease import locked
from treadle import SchemaMismatch, StoreUnavailable, Treadle

NOBODY = 65_534
FAR_S = 8.0
"""Below the patience of a store that is told none, for a machine that is busy."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> Path:
    """Take every block that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096):
            with_room = True
            while with_room:
                with_room = write(file.fileno(), size)
    return filler


def write(descriptor: int, size: int) -> bool:
    """Write so many bytes; False when the disk is full."""
    try:
        return os.write(descriptor, b"x" * size) == size
    except OSError:
        return False


def fill_jobs(app: Treadle, accepted: list[str]) -> None:
    """Enqueue more than the disk can hold, noting which were acknowledged."""
    for n in range(10_000):
        accepted.append(app.enqueue("old", f"filling{n}", "x" * 4_000).id)  # noqa: PERF401 -- ends in an error


def test_a_full_disk_refuses_jobs_and_loses_none(small_disk: Path, tmp_path: Path) -> None:
    """The producer is told that the disk is full; with space again, all goes on by itself."""
    with Scene(small_disk / "scene").prepare() as scene:
        scene.ledger.path = tmp_path / "ledger.txt"
        scene.enqueue("touch", *(f"before{n}" for n in range(20)))
        app = scene.app()
        app.enqueue("reject", "known")
        filler = fill(small_disk)
        accepted: list[str] = []
        with pytest.raises(StoreUnavailable, match="the disk is full; free some space"):
            fill_jobs(app, accepted)
        filler.unlink()
        assert app.enqueue("touch", "after").refresh().state == "ready"
        assert all(app.job(id_).state == "ready" for id_ in accepted)
        app.close()
        assert scene.query("pragma integrity_check") == [("ok",)]


def test_a_worker_on_a_full_disk_waits_and_goes_on(small_disk: Path, tmp_path: Path) -> None:
    """Its settlements are kept until there is space; no job runs twice or is lost."""
    with Scene(small_disk / "scene").prepare() as scene:
        scene.ledger.path = tmp_path / "ledger.txt"
        go = tmp_path / "go"
        scene.enqueue("stubborn", "stubborn0", "stubborn1", rest=(str(go),))
        scene.enqueue("touch", *(f"touch{n}" for n in range(200)))
        scene.logs = tmp_path
        worker = scene.worker("--slots", "2")
        scene.until(lambda: scene.running("stubborn") == 2, "both slots are taken")
        filler = fill(small_disk)
        app = scene.app()
        with pytest.raises(StoreUnavailable):
            fill_jobs(app, [])
        app.close()
        go.touch()
        scene.until(lambda: "the store does not answer" in worker.said, "the worker meets it")
        filler.unlink()
        scene.until(lambda: "the store answers again" in worker.said, "the worker goes on")
        scene.query("delete from treadle_jobs where task = 'old'")
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        account = scene.account()
        assert account.sound, account
        assert account.overrun == []


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user whom rights bind, for a while; root is bound by none."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_file_says_so(open_folder: Path) -> None:
    """A file without the right to write is an error that names it and the rights."""
    Scene(open_folder / "scene").prepare()
    file = open_folder / "scene" / "jobs.db"
    for path in (file, *file.parent.glob("jobs.db-*")):
        path.chmod(0o755 if path.is_dir() else 0o444)
    file.parent.chmod(0o555)
    app = Treadle(f"sqlite:///{file}")
    with as_nobody(), pytest.raises(StoreUnavailable, match="right") as caught:
        app.enqueue("touch", "x")
    assert str(file) in str(caught.value)
    app.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"this is a letter, and no database at all" * 100, "is not a SQLite database"),
        (b"\x00" * 8192, "not a"),
    ],
)
def test_a_file_that_is_no_database_is_left_alone(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    """It is an error that names the file, and the file is as it was."""
    file = tmp_path / "letter.db"
    file.write_bytes(content)
    app = Treadle(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailable, match=complaint) as caught:
        app.enqueue("touch", "x")
    assert str(file) in str(caught.value)
    assert file.read_bytes() == content


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    """Treadle makes files, not folders: a wrong path is an error that names it."""
    app = Treadle(f"sqlite:///{tmp_path}/nowhere/jobs.db")
    with pytest.raises(StoreUnavailable, match=r"nowhere/jobs\.db cannot be made: .*folder"):
        app.enqueue("touch", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file made by a newer treadle is left alone, by producers and by workers."""
    with Scene(tmp_path).prepare() as scene:
        scene.query("update treadle_meta set value = '999' where key = 'version'")
        with pytest.raises(SchemaMismatch, match=r"schema version 999.*install a newer treadle"):
            scene.app().enqueue("touch", "x")
        worker = scene.worker()
        assert worker.wait() == 1
        assert "install a newer treadle" in worker.said


def test_a_file_deleted_under_a_producer_is_noticed(tmp_path: Path) -> None:
    """A job that went into a deleted file is not acknowledged."""
    scene = Scene(tmp_path).prepare()
    app = scene.app()
    app.enqueue("touch", "there")
    scene.file.unlink()
    with pytest.raises(StoreUnavailable, match="was deleted while it was open"):
        app.enqueue("touch", "ghost")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        app.enqueue("touch", "ghost")
    app.close()


def test_a_file_replaced_under_a_producer_is_noticed(tmp_path: Path) -> None:
    """The first enqueue after the file was exchanged for another is refused."""
    scene, other = Scene(tmp_path / "a").prepare(), Scene(tmp_path / "b").prepare()
    app = scene.app()
    app.enqueue("touch", "there")
    for path in scene.folder.glob("jobs.db-*"):
        path.rename(path.with_suffix(".old"))
    other.file.rename(scene.file)
    with pytest.raises(StoreUnavailable, match="was replaced by another file"):
        app.enqueue("touch", "ghost")
    app.close()


def test_a_file_deleted_under_a_worker_is_said(tmp_path: Path) -> None:
    """The worker says within a few beats what happened, and still stops when it is told to."""
    with Scene(tmp_path).prepare() as scene:
        worker = scene.worker()
        scene.until(lambda: worker.ready, "the worker is ready")
        scene.file.unlink()
        scene.until(lambda: "was deleted while it was open" in worker.said, "it is said")
        assert scene.stop(worker) == 0, worker.said


def test_a_file_locked_for_long_is_an_error_in_time(tmp_path: Path) -> None:
    """After `store_timeout` the caller is told that another program holds the file."""
    scene = Scene(tmp_path).prepare()
    app = Treadle(scene.url, settings={"store_timeout": 0.3})
    _ = app.store
    with locked(scene, "begin immediate"):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"locked .* for 0\.3 s"):
            app.enqueue("touch", "x")
        assert 0.3 <= time.monotonic() - begun < FAR_S
    assert app.enqueue("touch", "x").state == "ready"
    app.close()


def test_an_enqueue_inside_ones_own_transaction_names_the_way(tmp_path: Path) -> None:
    """It would wait for itself: after a second it fails and names `using(connection=...)`."""
    scene = Scene(tmp_path).prepare()
    app = scene.app()
    app.enqueue("touch", "first")
    begun = time.monotonic()
    with (
        locked(scene, "begin immediate"),
        pytest.raises(StoreUnavailable, match=r"using\(connection=your_connection\)"),
    ):
        app.enqueue("touch", "second")
    assert 0.9 < time.monotonic() - begun < FAR_S
    app.close()


def test_the_same_holds_on_an_event_loop(tmp_path: Path) -> None:
    """`aenqueue` fails as fast, and the loop is free meanwhile."""
    scene = Scene(tmp_path).prepare()
    app = scene.app()

    async def scenario() -> int:
        await app.aenqueue("touch", "first")
        turns = 0
        with locked(scene, "begin immediate"):
            second = asyncio.create_task(app.aenqueue("touch", "second"))
            while not second.done():
                await asyncio.sleep(0.01)
                turns += 1
            with pytest.raises(StoreUnavailable, match="using"):
                await second
        return turns

    assert asyncio.run(scenario()) > 3
    app.close()


def test_a_worker_outlives_a_lock_longer_than_its_patience(tmp_path: Path) -> None:
    """It says once that the store is away and once that it is back, and does its work."""
    go, settings = tmp_path / "go", QUICK | {"TREADLE_STORE_TIMEOUT": "0.2"}
    with Scene(tmp_path / "scene", settings).prepare() as scene:
        scene.enqueue("stubborn", "held", rest=(str(go),))
        worker = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "the job runs")
        with locked(scene, "begin immediate"):
            go.touch()
            scene.until(lambda: "the store does not answer" in worker.said, "it says so")
        scene.until_done()
        scene.until(lambda: "the store answers again" in worker.said, "it says that, too")
        assert scene.stop(worker) == 0, worker.said
        assert worker.said.count("the store does not answer; settlements") == 1
