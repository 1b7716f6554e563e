"""History on PostgreSQL: by day and retention, dropped whole, in no settlement's way.

What the shelves hold is looked at as a person with `psql` would.
"""

import asyncio
import time
from typing import Any, Final

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.decide import Rules
from treadle.core.durations import DAY, HOUR
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Cancelled, Failed, Outcome, Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Note, Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    ERROR,
    Case,
    Hand,
    MakeStore,
    case,
    new_job,
    scenario,
    settlement,
    worker_info,
)

__all__ = ["case"]

DAY_S: Final = DAY / 1e6
GONE_S: Final = 20.0
DEAD: Final = Failed(ERROR, retryable=False)


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema."""

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(postgres_schema, namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make


class Tables:
    """The tables of history, looked at from outside."""

    def __init__(self, url: str) -> None:
        self.url, _, self.schema = url.partition("?schema=")

    def named(self, text: str) -> bytes:
        """Put what stands before the names of tables in the place of `{p}`."""
        return text.replace("{p}", f"{self.schema}.treadle_").encode()

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        """Ask a query; `{p}` stands before the names of tables."""
        with psycopg.connect(self.url, autocommit=True) as db:
            cursor = db.execute(self.named(text))
            return cursor.fetchall() if cursor.description else []

    def places(self) -> dict[bytes, str]:
        """Tell in which table each ended job lies."""
        rows = self.ask(
            "select id, relname from {p}history h join pg_class c on c.oid = h.tableoid"
        )
        return {id_.bytes: name.removeprefix("treadle_") for id_, name in rows}

    def shelves(self) -> list[str]:
        """Name the shelves there are, with tables and in the list alike."""
        rows = self.ask(
            "select relname from pg_inherits join pg_class on oid = inhrelid "
            "where inhparent = '{p}history'::regclass"
        )
        made = sorted(n for (name,) in rows if (n := name.removeprefix("treadle_")) not in FIXED)
        assert made == sorted(name for (name,) in self.ask("select name from {p}shelves"))
        return made


FIXED: Final = ("dead", "rest")


@pytest.fixture
def tables(postgres_schema: str) -> Tables:
    """Look at the test's own tables."""
    return Tables(postgres_schema)


async def end(case: Case, *outcomes: tuple[Outcome, int], queue: str = "default") -> list[bytes]:
    """Let one worker end a job for each outcome, to be kept for so long, in one batch."""
    ids = await case.add(len(outcomes), queue=queue)
    worker = await case.worker(f"w{new_id().hex()}")
    claims = await worker.claim(len(outcomes), queue)
    done = [
        settlement(claim, outcome, Rules(keep_succeeded=keep, keep_failed=keep))
        for claim, (outcome, keep) in zip(claims, outcomes, strict=True)
    ]
    assert await worker.settle(*done) == [Verdict.APPLIED] * len(done)
    return ids


class TestShelves:
    """Which table a job moves to."""

    @scenario
    async def test_jobs_that_are_over_at_other_times_lie_apart(
        self, case: Case, tables: Tables
    ) -> None:
        """Kept an hour, a day, a month, a year or ten: each in a table of its own."""
        keeps = [0, HOUR, DAY, 30 * DAY, 365 * DAY, 3_650 * DAY]
        ids = await end(case, *((Succeeded(b"1"), keep) for keep in keeps))
        places = tables.places()
        names = [places[id_] for id_ in ids]
        assert names[0] == names[1]
        assert len(set(names[1:])) == 5
        assert sorted(set(names)) == tables.shelves()

    @scenario
    async def test_jobs_of_a_day_lie_together_and_of_the_next_apart(
        self, case: Case, tables: Tables
    ) -> None:
        """Whichever worker settled them."""
        case.clock.move((DAY - case.now % DAY) / 1e6)
        ids = await end(case, (Succeeded(b"1"), DAY))
        case.clock.move(DAY_S - 60)
        ids += await end(case, (Succeeded(b"1"), DAY))
        case.clock.move(60)
        ids += await end(case, (Succeeded(b"1"), DAY))
        first, second, third = (tables.places()[id_] for id_ in ids)
        assert first == second != third

    @scenario
    async def test_the_last_moment_of_a_day_belongs_to_the_next(
        self, case: Case, tables: Tables
    ) -> None:
        """The server may come to write when it is over; what lies there goes at its own time."""
        case.clock.move((DAY - case.now % DAY) / 1e6 - 1)
        [before] = await end(case, (Succeeded(b"1"), DAY))
        case.clock.move(1)
        [after] = await end(case, (Succeeded(b"1"), DAY))
        assert tables.places()[before] == tables.places()[after]
        case.clock.move(DAY_S - 1)
        assert await case.store.prune(ANY_LIMIT) == 1
        assert await case.states([before, after]) == ["gone", "succeeded"]

    @scenario
    async def test_dead_letters_have_a_table_of_their_own(self, case: Case, tables: Tables) -> None:
        """However long they are kept."""
        ids = await end(case, (DEAD, DAY), (DEAD, 30 * DAY), (Succeeded(b"1"), DAY))
        places = tables.places()
        assert [places[id_] for id_ in ids[:2]] == ["dead", "dead"]
        assert places[ids[2]] != "dead"

    @scenario
    async def test_many_kinds_of_retention_make_a_bounded_number_of_tables(
        self, case: Case, tables: Tables
    ) -> None:
        """What is beyond lies in the table that is always there, and is settled all the same."""
        keeps = [years * 366 * DAY for years in range(2, 99)]
        for start in range(0, len(keeps), 20):
            await end(case, *((Succeeded(b"1"), keep) for keep in keeps[start : start + 20]))
        await end(case, *((Succeeded(b"1"), days * DAY) for days in range(1, 20)))
        assert len(tables.shelves()) == 100
        assert "rest" in tables.places().values()

    @scenario
    async def test_a_long_namespace_has_shelves_of_its_own(
        self, case: Case, tables: Tables
    ) -> None:
        """Also one of forty letters: no name is cut off."""
        namespace = "n" * 40
        other = await case.open(namespace)
        worker = await case.worker(store=other)
        job = new_job()
        await other.enqueue(new_id(), [job])
        await worker.finish((await worker.claim())[0], Succeeded(b"1"))
        [(name,)] = tables.ask(
            "select c.relname from {p}{n}_history h join pg_class c on c.oid = h.tableoid".replace(
                "{n}", namespace
            )
        )
        assert name.startswith(f"treadle_{namespace}_past_d")
        assert tables.shelves() == []
        case.clock.move(3 * DAY_S)
        assert await case.store.prune(ANY_LIMIT) == 0
        assert await other.prune(ANY_LIMIT) == 1

    @scenario
    async def test_statements_that_name_shelves_do_not_pile_up(
        self, case: Case, tables: Tables, postgres_schema: str, clock: MovedClock
    ) -> None:
        """A connection that has prepared hundreds of them is replaced."""
        url = f"{postgres_schema}&application_name={tables.schema}"
        case.store = PostgresStore(url, "default", Settings(), clock)
        await case.store.open()

        def sessions() -> set[int]:
            asked = "select pid from pg_stat_activity where application_name = '{s}'"
            return {pid for (pid,) in tables.ask(asked.replace("{s}", tables.schema))}

        before = sessions()
        for years in range(2, 99, 20):
            keeps = [(years + n) * 366 * DAY for n in range(20)]
            await end(case, *((Succeeded(b"1"), keep) for keep in keeps))
        deadline = time.monotonic() + GONE_S
        while before & sessions():  # The server ends a session a moment after it was closed.
            assert time.monotonic() < deadline, "the first connection is still there"
        assert sessions()
        await case.store.close()

    @scenario
    async def test_the_next_shelf_is_made_before_it_is_needed(
        self, case: Case, tables: Tables
    ) -> None:
        """By upkeep, within the last minutes of the day."""
        await end(case, (Succeeded(b"1"), DAY))
        await case.store.prune(ANY_LIMIT)
        assert len(tables.shelves()) == 1
        case.clock.move((DAY - case.now % DAY) / 1e6 - 60)
        await end(case, (Succeeded(b"1"), DAY))
        await case.store.prune(ANY_LIMIT)
        first, second = tables.shelves()
        case.clock.move(60)
        ids = await end(case, (Succeeded(b"1"), DAY))
        assert tables.places()[ids[0]] == second != first


class TestWhole:
    """Shelves go whole."""

    @scenario
    async def test_a_shelf_whose_time_is_over_is_dropped_with_all_that_is_in_it(
        self, case: Case, tables: Tables
    ) -> None:
        """Jobs, attempts, logs and counts; what is kept for longer stays."""
        [job] = await case.add(queue="mail")
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=0))
        await case.store.stage([], ANY_LIMIT)
        [claim] = await worker.claim()
        await case.store.note("w1", [Note(job, claim.number, logs=((case.now, "info", "a"),))])
        await worker.finish(claim, Succeeded(b"1"))
        longer = await end(case, (Succeeded(b"1"), 30 * DAY), (DEAD, 30 * DAY), queue="mail")
        case.clock.move(3 * DAY_S)
        assert await case.store.prune(ANY_LIMIT) >= 1
        assert await case.states([job, *longer]) == ["gone", "succeeded", "failed"]
        assert tables.ask("select job from {p}attempts union all select job from {p}logs") == []
        [queue] = await case.store.queues()
        assert {state: n for state, n in queue.counts.items() if n} == {"succeeded": 1, "failed": 1}
        assert len(tables.shelves()) == 1

    @scenario
    async def test_what_a_prune_that_died_has_left_behind_is_swept_by_the_next(
        self, case: Case, tables: Tables
    ) -> None:
        """Attempts and logs of a shelf that somebody else dropped, more than a page of them."""
        count = 700
        await case.add(count)
        worker = await case.worker()
        for outcome in (Failed(ERROR, delay=0), Failed(ERROR, delay=0), Succeeded(b"1")):
            await case.store.stage([], ANY_LIMIT)
            claims = await worker.claim(count)
            notes = [Note(c.id, c.number, logs=((case.now, "info", "a"),)) for c in claims]
            await case.store.note("w1", notes)
            await worker.settle(*(settlement(claim, outcome) for claim in claims))
        case.clock.move(3 * DAY_S)
        [shelf] = tables.shelves()
        for said in ("drop table {p}%s", "delete from {p}shelves where name = '%s'"):
            tables.ask(said % shelf)
        left = "select count(*) from {p}attempts union all select count(*) from {p}logs"
        assert tables.ask(left) == [(2 * count,), (3 * count,)]
        other = await case.open()
        while await other.prune(500) >= 500:
            pass
        assert tables.ask(left) == [(0,), (0,)]

    @scenario
    async def test_a_shelf_of_another_version_goes_by_its_entry(
        self, case: Case, tables: Tables
    ) -> None:
        """Whatever its name means to the worker that made it, when all in it is over is written."""
        [job] = await end(case, (Succeeded(b"1"), DAY))
        [shelf] = tables.shelves()
        tables.ask(f"alter table {{p}}{shelf} rename to treadle_past_q7")
        tables.ask("update {p}shelves set name = 'past_q7'")
        assert await case.store.prune(ANY_LIMIT) == 0
        assert await case.states([job]) == ["succeeded"]
        case.clock.move(3 * DAY_S)
        # One of another version, and an empty one of this, each by a call.
        for _ in range(2):
            await case.store.prune(ANY_LIMIT)
        assert await case.states([job]) == ["gone"]
        assert tables.shelves() == []

    @scenario
    async def test_attempts_of_jobs_that_are_there_are_not_swept(self, case: Case) -> None:
        """Neither those of jobs that live nor those of dead letters."""
        live, dead = await case.add(2)
        worker = await case.worker()
        for claim in await worker.claim(2):
            await worker.finish(claim, Failed(ERROR, delay=0))
        await case.store.stage([], ANY_LIMIT)
        claims = {claim.id: claim for claim in await worker.claim(2)}
        await worker.finish(claims[dead], DEAD)
        await end(case, (Succeeded(b"1"), DAY))
        case.clock.move(5 * DAY_S)
        for _ in range(3):
            await case.store.prune(ANY_LIMIT)
        assert [len(await case.store.attempts(job)) for job in (live, dead)] == [2, 2]

    @scenario
    async def test_a_shelf_that_somebody_reads_is_dropped_later(
        self, case: Case, tables: Tables
    ) -> None:
        """A prune that meets an open transaction goes on with the rest of its work."""
        ids = await end(case, (Succeeded(b"1"), DAY))
        cancelled = await case.add()
        await case.store.cancel(cancelled)
        case.clock.move(40 * DAY_S)
        with psycopg.connect(tables.url) as reader:
            reader.execute(tables.named("select * from {p}history"))
            assert await case.store.prune(ANY_LIMIT) == 1
            assert await case.states([*ids, *cancelled]) == ["succeeded", "gone"]
            reader.rollback()
            assert await case.store.prune(ANY_LIMIT) == 1
        assert tables.shelves() == []


class TestTogether:
    """Many sessions, with different rights, some of which stand still or do harm."""

    @scenario
    async def test_workers_that_need_a_shelf_at_once_make_one(
        self, case: Case, tables: Tables
    ) -> None:
        """Each settles, those who came while it was made into the table that is always there."""
        hands = [await case.worker(f"w{n}", store=await case.open()) for n in range(6)]
        await case.add(len(hands))
        claims = [(await hand.claim())[0] for hand in hands]
        done = [settlement(claim, Succeeded(b"1")) for claim in claims]
        verdicts = await asyncio.gather(
            *(hand.settle(one) for hand, one in zip(hands, done, strict=True))
        )
        assert verdicts == [[Verdict.APPLIED]] * len(hands)
        [shelf] = tables.shelves()
        assert {shelf} <= set(tables.places().values()) <= {shelf, "rest"}

    @scenario
    async def test_a_maker_that_stands_still_holds_no_settlement_up(
        self, case: Case, tables: Tables
    ) -> None:
        """What cannot have its shelf soon lies in the table that is always there."""
        with psycopg.connect(tables.url) as stopped:
            lock = case.store._history.lock  # type: ignore[attr-defined]  # noqa: SLF001 -- the stopped worker's
            number = int.from_bytes(lock, "big", signed=True)
            stopped.execute("select pg_advisory_xact_lock(%s)", [number])
            async with asyncio.timeout(5):
                first = await end(case, (Succeeded(b"1"), DAY), (Succeeded(b"1"), 30 * DAY))
                assert await case.store.prune(ANY_LIMIT) == 0
            assert [tables.places()[id_] for id_ in first] == ["rest", "rest"]
            stopped.rollback()
        await case.store.prune(ANY_LIMIT)
        second = await end(case, (Succeeded(b"1"), DAY))
        assert tables.places()[second[0]] in tables.shelves()
        assert await case.states([*first, *second]) == ["succeeded"] * 3

    @scenario
    async def test_a_shelf_is_missed_for_no_longer_than_another_maker_takes(
        self, case: Case, tables: Tables
    ) -> None:
        """Settlements soon have theirs once whoever held the right to make one has let it go."""
        with psycopg.connect(tables.url) as other:
            lock = case.store._history.lock  # type: ignore[attr-defined]  # noqa: SLF001 -- another's
            number = int.from_bytes(lock, "big", signed=True)
            other.execute("select pg_advisory_xact_lock(%s)", [number])
            [early] = await end(case, (Succeeded(b"1"), DAY))
            other.rollback()
        assert tables.places() == {early: "rest"}
        async with asyncio.timeout(5):
            while not tables.shelves():
                await end(case, (Succeeded(b"1"), DAY))

    @pytest.mark.parametrize(
        "harm",
        ["drop table {t}", "alter table {t} add check (task <> 'shop.mail')"],
        ids=["dropped", "refuses"],
    )
    @scenario
    async def test_a_shelf_that_takes_no_rows_any_more_loses_no_settlement(
        self, case: Case, tables: Tables, harm: str
    ) -> None:
        """Jobs end in the table that is always there until the shelves are known again."""
        [job] = await case.add()
        worker = await case.worker()
        await end(case, (Succeeded(b"1"), 30 * DAY), queue="other")
        await end(case, (Failed(ERROR, delay=DAY), 0), queue="other")
        [claim] = await worker.claim(1, "default")
        [shelf] = tables.shelves()
        with_rows = await end(case, (Succeeded(b"1"), 30 * DAY), queue="other")
        tables.ask("delete from {p}history")
        tables.ask(harm.replace("{t}", f"{tables.schema}.treadle_{shelf}"))
        rules = Rules(keep_succeeded=30 * DAY)
        assert await worker.settle(settlement(claim, Succeeded(b"1"), rules)) == [Verdict.APPLIED]
        assert tables.places() == {job: "rest"}
        assert with_rows
        await case.store.prune(ANY_LIMIT)

    @scenario
    async def test_a_user_without_the_right_to_make_tables_settles_all_the_same(
        self, case: Case, tables: Tables, postgres_schema: str, clock: MovedClock
    ) -> None:
        """Its history lies in one table, which is pruned by rows."""
        user = f"u_{new_id().hex()}"
        grants = (
            f"create role {user} login; grant usage on schema {tables.schema} to {user}; "
            "grant select, insert, update, delete "
            f"on all tables in schema {tables.schema} to {user}"
        )
        tables.ask(grants)
        url = postgres_schema.replace("treadle@", f"{user}@")
        weak = PostgresStore(url, "default", Settings(), clock)
        await weak.open()
        worker = Hand(weak, worker_info("weak"))
        await worker.register()
        ids = await case.add(2)
        first, second = await worker.claim(2)
        await worker.finish(first, Succeeded(b"1"))
        strong = await end(case, (Succeeded(b"1"), DAY))
        await weak.prune(ANY_LIMIT)
        await worker.finish(second, Succeeded(b"1"))
        places = tables.places()
        assert [places[id_] for id_ in ids] == ["rest", "rest"]
        assert places[strong[0]] in tables.shelves()
        assert await weak.get([*ids, *strong]) == await case.store.get([*ids, *strong])
        case.clock.move(3 * DAY_S)
        assert await weak.prune(ANY_LIMIT) == 2
        assert await case.store.prune(ANY_LIMIT) == 1
        await weak.close()
        tables.ask(f"drop owned by {user}; drop role {user}")


class TestReads:
    """Whoever reads sees one history."""

    @scenario
    async def test_pages_go_through_all_shelves(self, case: Case, tables: Tables) -> None:
        """Newest id first, no job twice and none left out, by every filter."""
        ids: list[bytes] = []
        for _ in range(6):
            ids += await end(case, (Succeeded(b"1"), DAY), (DEAD, DAY), (Succeeded(b"1"), 30 * DAY))
            case.clock.move(0.9 * DAY_S)
        assert len(tables.shelves()) >= 6
        found: list[bytes] = []
        for which, count in (
            (Filter(), 18),
            (Filter(state=JobState.SUCCEEDED), 12),
            (Filter(state=JobState.FAILED), 6),
            (Filter(queue="default"), 18),
        ):
            found = []
            last = None
            while page := await case.store.find(which, limit=5, before=last):
                found += [record.id for record in page]
                last = found[-1]
            assert found == sorted(found, reverse=True), which
            assert len(found) == count, which
        assert sorted(found) == sorted(ids)

    @scenario
    async def test_ended_jobs_are_retried_and_discarded_wherever_they_lie(
        self, case: Case, tables: Tables
    ) -> None:
        """Out of a shelf, the dead letters and the rest alike."""
        shelved = await end(case, (Cancelled("no"), DAY), (Cancelled("no"), 30 * DAY), (DEAD, DAY))
        loose = await case.add()
        await case.store.cancel(loose)
        assert len({tables.places()[id_] for id_ in [*shelved, *loose]}) == 4
        ids = [*shelved, *loose]
        assert list(await case.store.retry(ids[1:])) == [True] * 3
        assert list(await case.store.discard(ids)) == [True, False, False, False]
        assert await case.states(ids) == ["gone", "ready", "ready", "ready"]
