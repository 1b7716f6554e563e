"""One store under two names is never moved into itself; what waits for a key moves as well."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.transit.houses import House, new_job
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Conflict, Key
from treadle.core.outcome import Failed
from treadle.store.contract import Store
from treadle.store.parts.moving import SameStore
from treadle.testing.conformance.kit import ERROR, Hand, settlement, worker_info
from treadle.transit.apart import check_apart
from treadle.transit.moving import Move

Names = tuple[House, House]


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def names(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Names]:
    """Give one store by two names."""
    if request.param == "sqlite":
        (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
        yield House(f"sqlite:///{tmp_path}/a.db"), House(f"sqlite:///{tmp_path}/link/a.db")
        return
    space = f"m_{secrets.token_hex(4)}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        yield House(url, space), House(url.replace("127.0.0.1", "localhost"), space)
        return
    server = request.getfixturevalue("postgres_url")
    schema = f"t_{uuid4().hex}"
    url = f"{server}?schema={schema}"
    yield House(url, space), House(url.replace("127.0.0.1", "localhost"), space)
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"drop schema if exists {schema} cascade".encode())


def command(source: House, target: House) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    words = [*source.words("from"), *target.words("to")]
    return subprocess.run(
        [sys.executable, "-m", "treadle", "move", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def die(store: Store) -> None:
    """Make two dead letters."""
    await store.enqueue(new_id(), [new_job(attempts_max=1) for _ in range(2)])
    hand = Hand(store, worker_info("filler"))
    await hand.register()
    for claim in await hand.claim(2):
        await hand.settle(settlement(claim, Failed(ERROR, retryable=False, ran=3)))
    await store.leave("filler")


async def moved(here: House, there: House) -> None:
    """Move with the class, which knows no names."""
    async with here.opened() as source, there.opened() as target:
        await Move(source, target, "m", lambda _: None).run()


def test_dead_letters_alone_are_not_moved_into_themselves(names: Names) -> None:
    """With nothing waiting the two names are still seen to be one: refused, nothing changed."""
    here, there = names
    assert here.url != there.url
    here.run(die)
    before = here.ids(JobState.FAILED)
    done = command(here, there)
    assert done.returncode == 2, done.stdout
    assert "the same store" in done.stderr
    with pytest.raises(SameStore, match="the same store"):
        asyncio.run(moved(here, there))
    assert here.ids(JobState.FAILED) == before
    assert len(before) == 2


def test_a_lease_that_ended_meanwhile_tells_nothing(names: Names) -> None:
    """A store that answers after the lease leaves it open whether there are two: no move."""
    here, there = names

    async def main() -> None:
        async with here.opened() as source, there.opened() as target:
            with pytest.raises(StoreUnavailable, match="give the same command again"):
                await check_apart(source, target, lease=1)

    asyncio.run(main())


def test_a_job_behind_a_retry_moves_after_it(names: Names, tmp_path: Path) -> None:
    """The retry leaves, its key goes to who waits behind, and that one moves in the same run."""
    here, there = names[0], House(f"sqlite:///{tmp_path}/other.db")
    jobs = [new_job(key=Key("k", conflict=Conflict.REPLACE)) for _ in range(2)]

    async def fill(store: Store) -> None:
        await store.enqueue(new_id(), jobs[:1])
        hand = Hand(store, worker_info("filler"))
        await hand.register()
        [claim] = await hand.claim(1)
        assert await store.enqueue(new_id(), jobs[1:]) == [JobState.BLOCKED]
        later = Failed(ERROR, delay=3_600_000_000, ran=3)
        await hand.settle(settlement(claim, later))
        await store.leave("filler")

    here.run(fill)
    done = command(here, there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert here.ids(JobState.BLOCKED, JobState.READY, JobState.RETRYING) == set()
    assert there.ids(JobState.RETRYING) == {jobs[0].id}
    assert there.ids(JobState.READY) == {jobs[1].id}


def test_what_runs_keeps_who_waits_behind_it(tmp_path: Path) -> None:
    """That one is not refused for good: the same move takes it when the holder has ended."""
    here, there = House(f"sqlite:///{tmp_path}/a.db"), House(f"sqlite:///{tmp_path}/b.db")
    jobs = [new_job(key=Key("k", conflict=Conflict.REPLACE)) for _ in range(2)]

    async def main() -> None:
        async with here.opened() as source, there.opened() as target:
            await source.enqueue(new_id(), jobs[:1])
            hand = Hand(source, worker_info("w"))
            await hand.register()
            [claim] = await hand.claim(1)
            await source.enqueue(new_id(), jobs[1:])
            one = Move(source, target, "m", lambda _: None)
            report = await one.run()
            assert (report.running, report.waiting, report.refused) == (1, 1, 0)
            await hand.settle(settlement(claim, Failed(ERROR, retryable=False, ran=1)))
            assert (await one.run()).whole

    asyncio.run(main())
    assert there.ids(JobState.READY) == {jobs[1].id}
