"""Enqueueing inside the caller's own transaction on the store's file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from treadle import StoreUnavailable, Treadle

LEVELS = [None, "", "IMMEDIATE"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on a file."""
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    app.store  # noqa: B018 -- opening makes the file
    yield app
    app.close()


def connect(folder: Path, level: str | None, name: str = "jobs.db") -> sqlite3.Connection:
    """Open a connection as an application would."""
    return sqlite3.connect(folder / name, isolation_level=level)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_rolled_back_means_never_existed(app: Treadle, tmp_path: Path, level: str | None) -> None:
    """A job goes with the transaction it was enqueued in."""
    task = app.task(name="mail")(_mail)
    with closing(connect(tmp_path, level)) as db:
        db.execute("begin")
        task.using(connection=db).enqueue(1)
        db.rollback()
    assert app.jobs() == []


@pytest.mark.parametrize("level", ["", "IMMEDIATE"])
def test_nothing_is_committed_for_the_caller(
    app: Treadle, tmp_path: Path, level: str | None
) -> None:
    """Where the driver begins transactions by itself, the job waits for the caller's commit."""
    task = app.task(name="mail")(_mail)
    with closing(connect(tmp_path, level)) as db:
        job = task.using(connection=db).enqueue(1)
        assert db.in_transaction
        assert app.jobs() == []
        db.commit()
    assert [one.id for one in app.jobs()] == [job.id]


def test_a_batch_that_fails_leaves_nothing(app: Treadle, tmp_path: Path) -> None:
    """All or nothing holds without a transaction of the caller's as well."""
    task = app.task(name="mail")(_mail)
    with closing(connect(tmp_path, None)) as db:
        db.execute(
            "create temp trigger stop before insert on main.treadle_jobs "
            "when new.args = x'5b312c5b335d5d' begin select raise(abort, 'no'); end"
        )
        with pytest.raises(sqlite3.IntegrityError):
            task.using(connection=db).enqueue_many([(n,) for n in range(6)])
        assert not db.in_transaction
    assert app.jobs() == []


@pytest.mark.parametrize(
    ("begin", "advice"),
    [("begin", "has read, .* BEGIN IMMEDIATE"), ("", "another connection writes")],
)
def test_a_transaction_that_can_write_no_more_says_what_to_do(
    app: Treadle, tmp_path: Path, begin: str, advice: str
) -> None:
    """Whether it has read what is no longer so, or somebody else has the lock; nothing is lost."""
    task = app.task(name="mail")(_mail)
    with closing(connect(tmp_path, None)) as db, closing(connect(tmp_path, None)) as other:
        db.execute("pragma busy_timeout = 0")
        if begin:
            db.execute(begin)
            db.execute("select count(*) from treadle_jobs").fetchall()
            task.enqueue(1)
        else:
            other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match=advice):
            task.using(connection=db).enqueue(2)
        for one in (db, other):
            one.rollback()
        db.execute("begin immediate")
        task.using(connection=db).enqueue(3)
        db.execute("commit")
    assert [one.args for one in app.jobs()] == ([(3,), (1,)] if begin else [(3,)])


def test_another_file_is_refused(app: Treadle, tmp_path: Path) -> None:
    """A job never goes where no worker of the application looks."""
    task = app.task(name="mail")(_mail)
    other = Treadle(f"sqlite:///{tmp_path}/other.db")
    other.store  # noqa: B018 -- opening makes the file
    with (
        closing(connect(tmp_path, None, "other.db")) as db,
        pytest.raises(StoreUnavailable, match=r"other\.db"),
    ):
        task.using(connection=db).enqueue(1)
    assert other.jobs() == []
    other.close()


def test_a_memory_store_takes_no_connection(tmp_path: Path) -> None:
    """What lives in memory cannot be shared with a connection."""
    app = Treadle("memory://")
    task = app.task(name="mail")(_mail)
    with (
        closing(connect(tmp_path, None)) as db,
        pytest.raises(StoreUnavailable, match="store's own file"),
    ):
        task.using(connection=db).enqueue(1)
    app.close()


def _mail(number: int) -> int:
    return number
