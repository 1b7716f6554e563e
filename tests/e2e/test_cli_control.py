"""`treadle queues`, `treadle workers`, `treadle migrate`."""

import asyncio
import json
from pathlib import Path

from click.testing import Result

from tests.e2e.cli_kit import fill, invoke, store_url
from treadle import Treadle, Worker


def _call(folder: Path, *args: str, answer: str | None = None) -> Result:
    return invoke(*args, "--store", store_url(folder), answer=answer)


def _queue(folder: Path) -> dict[str, object]:
    (row,) = json.loads(_call(folder, "queues", "ls", "--json").stdout)["queues"]
    assert isinstance(row, dict)
    return row


def _wait_in(folder: Path, queue: str, count: int) -> None:
    app = Treadle(store_url(folder))
    try:
        app.named("elsewhere").using(queue=queue).enqueue_many([()] * count)
    finally:
        app.close()


def test_queues_are_listed_with_their_counts(tmp_path: Path) -> None:
    """Each state that occurs is a column."""
    fill(tmp_path, [("ok", 1), ("ok", 2), ("reject", 3)])
    lines = [line.split() for line in _call(tmp_path, "queues", "ls").stdout.splitlines()]
    assert lines == [
        ["QUEUE", "SUCCEEDED", "FAILED", "OLDEST", "READY"],
        ["cards", "0", "1"],
        ["default", "2", "0"],
    ]


def test_the_document_of_queues(tmp_path: Path) -> None:
    """A queue has its name, whether it is paused, its counts and its oldest ready job."""
    _wait_in(tmp_path, "mail", 2)
    row = _queue(tmp_path)
    assert list(row) == ["name", "paused", "counts", "oldest_ready"]
    assert (row["name"], row["paused"]) == ("mail", False)
    assert isinstance(row["counts"], dict)
    assert row["counts"]["ready"] == 2


def test_no_queue_is_said(tmp_path: Path) -> None:
    """A fresh store has no queues."""
    fill(tmp_path, [])
    assert _call(tmp_path, "queues", "ls").stdout == "No queue has held a job so far.\n"


def test_pause_and_resume(tmp_path: Path) -> None:
    """Both say whether they changed anything."""
    _wait_in(tmp_path, "mail", 1)
    assert _call(tmp_path, "queues", "pause", "mail").stdout == "Queue mail is paused.\n"
    assert "as it was before" in _call(tmp_path, "queues", "pause", "mail").stdout
    assert _queue(tmp_path)["paused"] is True
    assert "paused" in _call(tmp_path, "queues", "ls").stdout
    resumed = _call(tmp_path, "queues", "resume", "mail", "--json")
    assert json.loads(resumed.stdout) == {"queue": "mail", "paused": False, "changed": True}


def test_purge_asks(tmp_path: Path) -> None:
    """Purging names how many jobs wait, and cancels them only after a yes."""
    _wait_in(tmp_path, "mail", 3)
    refused = _call(tmp_path, "queues", "purge", "mail", answer="n\n")
    assert refused.exit_code == 1
    assert "Cancel 3 waiting jobs of queue mail?" in refused.stderr
    counts = _queue(tmp_path)["counts"]
    assert isinstance(counts, dict)
    assert counts["ready"] == 3


def test_purge_with_yes(tmp_path: Path) -> None:
    """`--yes` answers beforehand."""
    _wait_in(tmp_path, "mail", 3)
    done = _call(tmp_path, "queues", "purge", "mail", "--yes")
    assert done.stdout == "3 jobs of queue mail cancelled.\n"


def test_a_wrong_queue_name_is_refused(tmp_path: Path) -> None:
    """A name that no queue can have is a mistake of the command line."""
    fill(tmp_path, [])
    result = _call(tmp_path, "queues", "pause", "-- x")
    assert result.exit_code == 2


def test_workers_are_listed(tmp_path: Path) -> None:
    """A registered worker is shown with its slots, queues and last beat."""
    app = Treadle(store_url(tmp_path))

    async def look() -> tuple[Result, Result]:
        async with Worker(app, "a,b", concurrency=3):
            table = await asyncio.to_thread(_call, tmp_path, "workers", "ls")
            return table, await asyncio.to_thread(_call, tmp_path, "workers", "ls", "--json")

    try:
        table, document = asyncio.run(look())
    finally:
        app.close()
    (row,) = json.loads(document.stdout)["workers"]
    assert (row["queues"], row["slots"], row["running"]) == (["a", "b"], 3, 0)
    assert table.stdout.splitlines()[1].split()[:4] == [row["id"], "0/3", "a,", "b"]
    assert "No worker is registered" in _call(tmp_path, "workers", "ls").stdout


def test_migrate_makes_a_store_and_then_leaves_it(tmp_path: Path) -> None:
    """The first call tells the versions before and after, the second that there is no need."""
    first = json.loads(_call(tmp_path, "migrate", "--json").stdout)
    assert first["before"] == 0
    assert first["after"] >= 1
    assert "is up to date" in _call(tmp_path, "migrate").stdout
    assert _call(tmp_path, "jobs", "ls").stdout == "No job is stored.\n"


def test_migrate_of_an_empty_file_tells_both_versions(tmp_path: Path) -> None:
    """An old schema is brought up to date and both versions are printed."""
    (tmp_path / "jobs.db").touch()
    assert "schema version 0 before, " in _call(tmp_path, "migrate").stdout


def test_migrate_where_nothing_can_be_made(tmp_path: Path) -> None:
    """A folder that is missing is one clear line."""
    result = _call(tmp_path / "missing", "migrate")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
