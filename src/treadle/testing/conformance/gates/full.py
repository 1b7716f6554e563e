"""What becomes of a job that finds no place: it waits, ends, or takes the place of who waits."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import SECOND
from treadle.core.gates.gate import FULL, PLACES, REPLACE, REPLACED, SKIP, GateUse, write_gates
from treadle.core.ids import id_text, new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import Failed, Released
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places, rate
from treadle.testing.conformance.kit import ERROR, Case, ids_of, new_job, scenario


def skips(name: str = "g", quota: int = 1) -> GateUse:
    """Describe places for jobs that do not wait for one."""
    return GateUse(name, PLACES, quota=quota, on_full=SKIP)


def replaces(name: str = "g", quota: int = 1) -> GateUse:
    """Describe places for jobs of which the newest waits."""
    return GateUse(name, PLACES, quota=quota, on_full=REPLACE)


class TestSkip:
    """A job that says `skip` ends at once where it finds no place before its first start."""

    @scenario
    async def test_a_job_that_finds_no_place_ends_at_its_enqueue(self, case: Case) -> None:
        """It is cancelled with the reason, and the answer to its enqueue says so."""
        await add(case, 1, skips())
        worker = await case.worker()
        [running] = await claim(worker)
        job = new_job(gates=write_gates([skips()]))
        assert list(await case.store.enqueue(new_id(), [job])) == [JobState.CANCELLED]
        record = await case.job(job.id)
        assert (record.state, record.reason) == (JobState.CANCELLED, FULL)
        assert record.finished_at == case.now
        assert (await gate(case, "g")).waiting == 0
        await finish(worker, running)
        [later] = await add(case, 1, skips())
        assert ids_of(await claim(worker)) == [later]

    @scenario
    async def test_jobs_that_meet_the_gate_as_it_shuts_end(self, case: Case) -> None:
        """Of a backlog as many run as there are places, and the rest has ended."""
        ids = await add(case, 5, skips(quota=2))
        assert await case.states(ids) == ["ready"] * 5
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:2]
        assert await case.states(ids) == ["running"] * 2 + ["cancelled"] * 3
        assert [queue.counts.get("cancelled") for queue in await case.store.queues()] == [3]

    @scenario
    async def test_a_job_that_was_started_once_waits(self, case: Case) -> None:
        """A retry is not skipped, nor is a job that was handed back."""
        ids = await add(case, 2, skips(quota=2))
        worker = await case.worker()
        first, second = await claim(worker)
        await case.store.set_gate(places(quota=1))
        await worker.finish(first, Failed(ERROR, delay=0))
        assert await case.states(ids) == ["blocked", "running"]
        await finish(worker, second)
        [again] = await claim(worker)
        assert again.id == ids[0]
        await add(case, 1, places())
        await worker.finish(again, Released())
        assert (await case.job(ids[0])).state in (JobState.BLOCKED, JobState.READY)

    @scenario
    async def test_a_paused_gate_is_not_full(self, case: Case) -> None:
        """What it holds back waits, and runs when it is open again."""
        await case.store.shut_gate("g")
        ids = await add(case, 2, skips(quota=2))
        assert await case.states(ids) == ["blocked"] * 2
        await case.store.open_gate("g")
        assert ids_of(await claim(await case.worker())) == ids

    @scenario
    async def test_a_delayed_job_ends_when_its_time_comes(self, case: Case) -> None:
        """Until then it is scheduled as any other."""
        await add(case, 1, skips())
        [late] = await add(case, 1, skips(), delay=5 * SECOND)
        worker = await case.worker()
        await claim(worker)
        assert await case.states([late]) == ["scheduled"]
        case.clock.move(6)
        await case.store.stage((), 10)
        assert await case.states([late]) == ["cancelled"]

    @scenario
    async def test_the_answer_says_so_of_jobs_with_keys(self, case: Case) -> None:
        """Whether it waits at its gate or was skipped there, as often as the batch is sent."""
        await add(case, 1, skips(), places("p"))
        [running] = await claim(await case.worker())
        batch = [
            new_job(gates=write_gates([gate]), key=Key(f"k{place}"))
            for place, gate in enumerate((skips(), places("p"), places("q")))
        ]
        request, said = new_id(), ["cancelled", "blocked", "ready"]
        for _ in range(2):
            assert list(await case.store.enqueue(request, batch)) == said
        assert await case.states([running.id, *(job.id for job in batch)]) == ["running", *said]

    @scenario
    async def test_the_key_of_a_job_that_is_skipped_is_free(self, case: Case) -> None:
        """The next job that wants it has it."""
        await add(case, 1, skips())
        worker = await case.worker()
        [running] = await claim(worker)
        key = Key("k", Until.END, Conflict.KEEP)
        [job] = await case.enqueue(new_job(gates=write_gates([skips()]), key=key))
        assert await case.states([job]) == ["cancelled"]
        assert list(await case.store.keys(["k"])) == [None]
        await finish(worker, running)
        [next_] = await case.enqueue(new_job(gates=write_gates([skips()]), key=key))
        assert ids_of(await claim(worker)) == [next_]

    @scenario
    async def test_it_ends_at_the_second_of_its_gates(self, case: Case) -> None:
        """It waits for its rate, and ends where it then finds no place."""
        worker = await case.worker()
        await add(case, 1, rate("a"))
        await add(case, 1, skips("b"))
        assert len(await claim(worker)) == 2
        [job] = await add(case, 1, rate("a"), skips("b"))
        assert await case.states([job]) == ["blocked"]
        case.clock.move(1)
        await claim(worker)
        assert await case.states([job]) == ["cancelled"]


class TestReplaceWaiting:
    """Of the jobs that say `replace` the newest waits at a gate, and those before it end."""

    @scenario
    async def test_the_newest_takes_the_waiting_place(self, case: Case) -> None:
        """The older one ends with a reason that names it; what runs is not touched."""
        ids = await add(case, 1, replaces())
        worker = await case.worker()
        [running] = await claim(worker)
        for _ in range(3):
            ids += await add(case, 1, replaces())
        assert await case.states(ids) == ["running", "cancelled", "cancelled", "blocked"]
        reasons = [(await case.job(id_)).reason for id_ in ids[1:3]]
        assert reasons == [REPLACED + id_text(id_) for id_ in ids[2:]]
        assert (await gate(case, "g")).waiting == 1
        await finish(worker, running)
        assert ids_of(await claim(worker)) == ids[3:]

    @scenario
    async def test_a_batch_leaves_its_newest(self, case: Case) -> None:
        """The answer to its enqueue says which of it have ended."""
        await add(case, 1, replaces())
        await claim(await case.worker())
        jobs = [new_job(gates=write_gates([replaces()])) for _ in range(3)]
        newest = max(range(3), key=lambda place: jobs[place].id)
        states = list(await case.store.enqueue(new_id(), jobs))
        wanted = ["cancelled"] * 3
        wanted[newest] = "blocked"
        assert states == wanted
        assert await case.states([job.id for job in jobs]) == wanted

    @scenario
    async def test_a_backlog_leaves_its_newest(self, case: Case) -> None:
        """As it meets the gate, as many run as there are places, one waits, the rest has ended."""
        ids = await add(case, 5, replaces(quota=2))
        worker = await case.worker()
        await claim(worker)
        assert await case.states(ids) == ["running"] * 2 + ["cancelled"] * 2 + ["blocked"]

    @scenario
    async def test_an_older_job_that_comes_later_is_the_one_that_ends(self, case: Case) -> None:
        """Newer is who was made later, whatever the order in which they come to the gate."""
        await add(case, 1, replaces())
        await claim(await case.worker())
        [older] = await add(case, 1, replaces(), delay=5 * SECOND)
        [newer] = await add(case, 1, replaces())
        case.clock.move(6)
        await case.store.stage((), 10)
        assert await case.states([older, newer]) == ["cancelled", "blocked"]
        assert (await case.job(older)).reason == REPLACED + id_text(newer)

    @scenario
    async def test_jobs_that_say_wait_are_left(self, case: Case) -> None:
        """At a gate that two tasks share, a job replaces none that does not say so itself."""
        await add(case, 1, places())
        await claim(await case.worker())
        waiting = await add(case, 2, places())
        first = await add(case, 1, replaces())
        second = await add(case, 1, replaces())
        ids = [*waiting, *first, *second]
        assert await case.states(ids) == ["blocked", "blocked", "cancelled", "blocked"]

    @scenario
    async def test_each_key_keeps_its_own(self, case: Case) -> None:
        """A job replaces none of another account."""
        worker = await case.worker()
        await add(case, 1, replaces("a:1"))
        await add(case, 1, replaces("a:2"))
        await claim(worker)
        first = await add(case, 1, replaces("a:1"))
        second = await add(case, 1, replaces("a:2"))
        assert await case.states([*first, *second]) == ["blocked"] * 2

    @scenario
    async def test_a_job_that_was_started_once_is_not_replaced(self, case: Case) -> None:
        """A retry waits beside the newest."""
        [old] = await add(case, 1, replaces())
        worker = await case.worker()
        [claimed] = await claim(worker)
        [new] = await add(case, 1, replaces())
        await worker.finish(claimed, Failed(ERROR, delay=0))
        assert sorted(await case.states([old, new])) in (["blocked", "ready"], ["blocked"] * 2)

    @scenario
    async def test_an_enqueue_that_is_sent_again_replaces_nothing(self, case: Case) -> None:
        """An older batch whose answer was lost does not push the newer job out."""
        await add(case, 1, replaces())
        await claim(await case.worker())
        request, job = new_id(), new_job(gates=write_gates([replaces()]))
        await case.store.enqueue(request, [job])
        [newer] = await add(case, 1, replaces())
        await case.store.enqueue(request, [job])
        assert await case.states([job.id, newer]) == ["cancelled", "blocked"]
