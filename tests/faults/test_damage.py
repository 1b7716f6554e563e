"""A SQLite file that is damaged: bits are flipped, pages overwritten, its end is missing."""

import asyncio
import random
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from treadle import (
    Context,
    JobNotFound,
    JobState,
    PayloadError,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    Treadle,
    Worker,
    context,
)

PAGE: Final = 4_096
JOBS: Final = 200
FILES: Final = 60
INNER_PAGE: Final = 2
"""The first byte of a page of an index that has pages below it (sqlite.org/fileformat2.html)."""
APP: Final = """
from treadle import Treadle

app = Treadle("sqlite:///jobs.db", settings={"store_timeout": 2})


@app.task(name="same", retry=1)
async def same(value: str) -> str:
    return value
"""
UNNOTICED: Final = (JobNotFound, PayloadError)
"""What a bit in a job's row may make of it: a page has no sum by which that would be noticed."""

Damage = Callable[[random.Random, bytearray], None]


def flip(draw: random.Random, content: bytearray) -> None:
    """Turn some bits round."""
    for _ in range(draw.choice([1, 5, 50])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def overwrite(draw: random.Random, content: bytearray) -> None:
    """Put noise, or nothing, in the place of a page."""
    start = draw.randrange(len(content) // PAGE) * PAGE
    content[start : start + PAGE] = draw.choice([bytes(PAGE), draw.randbytes(PAGE)])


def shorten(draw: random.Random, content: bytearray) -> None:
    """Take the end away."""
    del content[draw.randrange(1, len(content)) :]


def spoil_header(draw: random.Random, content: bytearray) -> None:
    """Change a byte of what says that and how the file is a database."""
    content[draw.randrange(100)] = draw.randrange(256)


@contextmanager
def opened(file: Path) -> Iterator[Treadle]:
    """Open an application on a file."""
    app = Treadle(f"sqlite:///{file}", settings={"store_timeout": 2})

    @app.task(name="same", retry=1)
    async def same(value: str) -> str:
        return value

    try:
        yield app
    finally:
        app.close()


@pytest.fixture
def sound(tmp_path: Path) -> tuple[bytes, list[str]]:
    """Give the content of a file of ended and waiting jobs, and the ids of those that ended."""
    with opened(tmp_path / "sound.db") as app:
        ended = app.named("same").enqueue_many([(f"v{n}",) for n in range(JOBS)])
        asyncio.run(Worker(app, burst=True).arun())
        app.named("same").enqueue_many([("waits",)] * JOBS)
        ids = [job.id for job in ended]
    return (tmp_path / "sound.db").read_bytes(), ids


def use(file: Path, ids: list[str], draw: random.Random, *, is_noticed: bool) -> None:
    """Read, list and enqueue; each works as on a sound file, or is a `StoreError`."""
    place = draw.randrange(JOBS)
    refusals = (StoreError,) if is_noticed else (StoreError, *UNNOTICED)

    def read(app: Treadle) -> None:
        job = app.job(ids[place])
        said = [*job.args]
        if job.state is JobState.SUCCEEDED:
            said.append(job.result(timeout=1))
        assert not is_noticed or set(said) == {f"v{place}"}

    def enqueue(app: Treadle) -> None:
        job = app.enqueue("same", "new")
        assert app.job(job.id).args == ("new",)

    with opened(file) as app:
        for call in (read, lambda app: app.jobs(limit=JOBS), enqueue, read):
            with suppress(*refusals):
                call(app)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, overwrite, shorten, spoil_header])
def test_a_damaged_file_answers_rightly_or_not_at_all(
    sound: tuple[bytes, list[str]], tmp_path: Path, damage: Damage
) -> None:
    """No other error leaves it, no answer is wrong but for a bit, and the file stays."""
    content, ids = sound
    for _ in range(FILES):
        seed = secrets.randbits(32)
        draw, spoilt = random.Random(seed), bytearray(content)  # noqa: S311 -- it replays the file
        damage(draw, spoilt)
        file = tmp_path / f"{seed}.db"
        file.write_bytes(spoilt)
        try:
            use(file, ids, draw, is_noticed=damage is not flip)
        except BaseException as error:
            error.add_note(f"seed {seed} of {damage.__name__}")
            raise
        assert file.exists()


@pytest.mark.parametrize("name", ["version", "clock"])
def test_what_a_store_has_noted_of_itself_and_cannot_read_is_damage(
    tmp_path: Path, name: str
) -> None:
    """The error says so, and what to do."""
    file = tmp_path / "jobs.db"
    with opened(file) as app:
        app.enqueue("same", "v")
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("update treadle_meta set value = 'x' where key = ?", (name,))
    with opened(file) as app, pytest.raises(StoreUnavailable, match="the file is damaged"):
        app.enqueue("same", "w")


def spoil(file: Path, index: str) -> None:
    """Overwrite the end of an index: its last page, which is also its first when it is small."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        (page,) = db.execute("select rootpage from sqlite_master where name = ?", (index,))
    (number,) = page
    content = bytearray(file.read_bytes())
    start = (number - 1) * PAGE
    if content[start] == INNER_PAGE:
        number = int.from_bytes(content[start + 8 : start + 12], "big")
        start = (number - 1) * PAGE
    content[start : start + PAGE] = b"\xff" * PAGE
    file.write_bytes(content)


@pytest.mark.parametrize("index", ["treadle_jobs_ready", "treadle_jobs_ended"])
def test_a_burst_on_a_damaged_file_ends_and_says_what_to_do(
    sound: tuple[bytes, list[str]], tmp_path: Path, index: str
) -> None:
    """It exits with 2 whether a claim or a settlement meets the damage; waiting mends neither."""
    (tmp_path / "jobs.db").write_bytes(sound[0])
    spoil(tmp_path / "jobs.db", index)
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "treadle", "worker", "--burst"],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "the file is damaged, and waiting does not mend it" in ended.stderr
    assert "restore it from a backup" in ended.stderr.splitlines()[-1]


def test_what_a_burst_has_run_before_it_meets_damage_is_stored(
    sound: tuple[bytes, list[str]], tmp_path: Path
) -> None:
    """A claim that fails takes no settlement with it."""
    file = tmp_path / "jobs.db"
    file.write_bytes(sound[0])
    spoil(file, "treadle_jobs_ready")
    with opened(file) as app:
        worker = Worker(app, burst=True)
        with pytest.raises(StoreDamaged, match="restore it from a backup"):
            asyncio.run(worker.arun())
    with closing(sqlite3.connect(file)) as db:
        query = "select count(*) from treadle_jobs not indexed where state = 'succeeded'"
        (stored,) = db.execute(query).fetchone()
    assert worker.starts > 0
    assert stored == JOBS + worker.starts


def test_damage_in_what_jobs_have_said_keeps_back_no_end_of_a_job(tmp_path: Path) -> None:
    """Their log lines are lost with it, what became of them is stored, and the burst says why."""
    file = tmp_path / "jobs.db"
    with opened(file) as app:
        app.enqueue("same", "makes the tables")
    spoil(file, "treadle_logs")
    with opened(file) as app:

        @app.task(name="talks", retry=1)
        async def talks(ctx: Context = context()) -> None:  # noqa: B008 -- a marker
            ctx.log("so it is")

        talks.enqueue_many([()] * 5)
        with pytest.raises(StoreDamaged, match="restore it from a backup"):
            asyncio.run(Worker(app, burst=True).arun())
        assert {job.state for job in app.jobs()} == {JobState.SUCCEEDED}


def test_a_worker_on_a_damaged_file_says_so_once_and_waits(
    sound: tuple[bytes, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rests grow, its health says what is wrong, and it stops when it is told to."""
    file = tmp_path / "jobs.db"
    file.write_bytes(sound[0])
    spoil(file, "treadle_jobs_ready")

    async def work(app: Treadle) -> tuple[str, float]:
        ill = asyncio.Event()
        app.on_event(lambda event: ill.set() if event.name == "worker.unwell" else None)
        async with Worker(app) as worker, asyncio.timeout(20):
            await ill.wait()
            begun = time.process_time()
            await asyncio.sleep(2)
            return worker.health.problem, time.process_time() - begun

    with opened(file) as app, caplog.at_level("ERROR", "treadle.worker"):
        problem, spent = asyncio.run(work(app))
    assert "the file is damaged" in problem
    said = [line for line in caplog.messages if line.startswith("the store is damaged")]
    assert len(said) == 1
    assert spent < 0.5, f"{spent} s of the processor's time in 2 s of waiting"
