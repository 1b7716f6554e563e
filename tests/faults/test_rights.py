"""Whose the files beside a SQLite database are: the user's alone, whatever the umask, no links."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scene import Scene, finish


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Take nothing away from the rights that a new file is given."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_may_read_or_write_what_is_made(tmp_path: Path) -> None:
    """Under umask 000 the database, its log, bells and live files are their owner's alone."""
    folder = tmp_path / "scene"
    with Scene(folder).prepare() as scene:
        scene.enqueue("slow", "slow0", rest=(0.2,))
        worker = scene.worker()
        scene.until(lambda: scene.started("slow0"), "a job runs")
        made = [path for path in folder.rglob("jobs.db*") if not path.is_symlink()]
        made += list(Path(f"{scene.file}-live").iterdir())
        names = {path.name.removeprefix("jobs.db") for path in made}
        assert {"", "-wal", "-bell", "-ends", "-live"} <= names
        rights = {path.name: stat.filemode(path.stat().st_mode) for path in made}
        assert all(mode.endswith("------") for mode in rights.values()), rights
        finish(scene, worker)


def test_a_worker_does_not_follow_a_link_to_its_live_files(tmp_path: Path) -> None:
    """A link in the place of their folder is refused by name, and nothing is written behind it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Scene(tmp_path / "scene").prepare() as scene:
        live = Path(f"{scene.file}-live")
        live.symlink_to(elsewhere)
        worker = scene.worker()
        scene.until(lambda: "is a link" in worker.said or worker.ready, "it is looked at")
        assert f"{live} is a link" in worker.said
        worker.kill()
        assert list(elsewhere.iterdir()) == []
