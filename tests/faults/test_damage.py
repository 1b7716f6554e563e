"""A SQLite file that is damaged: bits are flipped, pages overwritten, its end is missing."""

import asyncio
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from treadle import JobState, StoreError, Treadle, Worker

PAGE: Final = 4_096
JOBS: Final = 200
FILES: Final = 60

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


def use(file: Path, ids: list[str], draw: random.Random) -> None:
    """Read, list and enqueue; each works as on a sound file, or is a `StoreError`."""
    place = draw.randrange(JOBS)

    def read(app: Treadle) -> None:
        job = app.job(ids[place])
        assert job.args == (f"v{place}",)
        if job.state is JobState.SUCCEEDED:
            assert job.result(timeout=1) == f"v{place}"

    def enqueue(app: Treadle) -> None:
        job = app.enqueue("same", "new")
        assert app.job(job.id).args == ("new",)

    with opened(file) as app:
        for call in (read, lambda app: app.jobs(limit=JOBS), enqueue, read):
            with suppress(StoreError):
                call(app)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, overwrite, shorten, spoil_header])
def test_a_damaged_file_answers_rightly_or_not_at_all(
    sound: tuple[bytes, list[str]], tmp_path: Path, damage: Damage
) -> None:
    """No other error leaves it, no answer is a wrong one, and the file is never taken away."""
    content, ids = sound
    for _ in range(FILES):
        seed = secrets.randbits(32)
        draw, spoilt = random.Random(seed), bytearray(content)  # noqa: S311 -- it replays the file
        damage(draw, spoilt)
        file = tmp_path / f"{seed}.db"
        file.write_bytes(spoilt)
        try:
            use(file, ids, draw)
        except BaseException as error:
            error.add_note(f"seed {seed} of {damage.__name__}")
            raise
        assert file.exists()
