"""What people may do to a gate: look at it, shut it, open it, set its numbers."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import HOUR, SECOND
from treadle.core.gates.gate import FOREVER, PLACES, SWITCH, GateUse
from treadle.core.job import JobState
from treadle.core.outcome import Released
from treadle.testing.conformance.gates.breakers import open_by_failures
from treadle.testing.conformance.gates.kit import (
    add,
    breaker,
    check_due,
    claim,
    finish,
    gate,
    places,
    rate,
)
from treadle.testing.conformance.kit import Case, ids_of, scenario


class TestShutting:
    """A gate that is shut lets nothing pass, until its time or until somebody opens it."""

    @scenario
    async def test_a_shut_gate_parks_until_it_is_opened(self, case: Case) -> None:
        """What ran goes on; what comes waits; opening wakes it."""
        ids = await add(case, 3, places(quota=2))
        worker = await case.worker()
        [first] = await worker.claim(1)
        await case.store.shut_gate("g", note="the mail server is down")
        assert await claim(worker) == []
        shown = await gate(case, "g")
        assert (shown.shut_until, shown.note) == (FOREVER, "the mail server is down")
        assert (await case.job(first.id)).state == JobState.RUNNING
        assert await case.store.open_gate("g")
        assert ids_of(await claim(worker)) == ids[1:2]
        assert not await case.store.open_gate("g")

    @scenario
    async def test_a_gate_held_for_a_time_opens_by_itself(self, case: Case) -> None:
        """Nobody has to come back; the store tells when."""
        ids = await add(case, 2, places(quota=5))
        await case.store.shut_gate("g", delay=30 * SECOND)
        worker = await case.worker()
        assert await claim(worker) == []
        await check_due(worker, 29, 30)
        case.clock.move(30.1)
        assert ids_of(await claim(worker)) == ids

    @scenario
    async def test_a_short_hold_does_not_shorten_a_pause(self, case: Case) -> None:
        """A gate that is shut for longer stays so, and keeps its note; a longer hold counts."""
        await case.store.shut_gate("g", note="by hand")
        await case.store.shut_gate("g", delay=SECOND, note="by a task")
        case.clock.move(5)
        shown = await gate(case, "g")
        assert (shown.shut_until, shown.note) == (FOREVER, "by hand")
        await case.store.open_gate("g")
        await case.store.shut_gate("g", delay=SECOND)
        await case.store.shut_gate("g", delay=3 * SECOND)
        case.clock.move(2)
        assert (await gate(case, "g")).room == 0
        case.clock.move(2)
        assert (await gate(case, "g")).room > 0

    @scenario
    async def test_a_gate_can_be_shut_before_any_job_names_it(self, case: Case) -> None:
        """It is made, and the first job that names it is parked."""
        await case.store.shut_gate("tomorrow")
        ids = await add(case, 1, places("tomorrow"))
        assert await case.states(ids) == ["blocked"]
        assert await case.store.open_gate("tomorrow")
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids

    @scenario
    async def test_a_switch_wakes_all_that_wait(self, case: Case) -> None:
        """More than one page of them, in their order."""
        await case.store.shut_gate("s")
        ids = await add(case, 1_200, GateUse("s", SWITCH))
        worker = await case.worker()
        assert await claim(worker) == []
        await case.store.open_gate("s")
        assert ids_of(await claim(worker, 500)) == ids

    @scenario
    async def test_one_key_of_a_switch_is_held_and_no_other(self, case: Case) -> None:
        """Ready jobs of it, those that come, and those that run and come back; resume runs all."""
        seven, eight = GateUse("s:7", SWITCH), GateUse("s:8", SWITCH)
        ids = await add(case, 2, seven)
        worker = await case.worker()
        [running] = await worker.claim(1)
        await case.store.shut_gate("s:7", note="no token")
        others = await add(case, 2, eight)
        ids += await add(case, 1, seven)
        assert ids_of(await claim(worker)) == others
        await worker.finish(running, Released())
        assert await claim(worker) == []
        shown = await gate(case, "s:7")
        assert (shown.kind, shown.waiting, shown.note) == (SWITCH, 3, "no token")
        assert await case.store.open_gate("s:7")
        assert ids_of(await claim(worker)) == ids


class TestNumbers:
    """Limits change at run time; what is set there stands above what jobs bring along."""

    @scenario
    async def test_numbers_that_are_set_count_at_once(self, case: Case) -> None:
        """A wider gate wakes who waits; jobs that come with the old number change nothing."""
        ids = await add(case, 4, places(quota=1))
        worker = await case.worker()
        await claim(worker)
        await case.store.set_gate(GateUse("g", PLACES, quota=3))
        case.clock.move(1)
        ids += await add(case, 1, places(quota=1))
        assert ids_of(await claim(worker)) == ids[1:3]
        assert (await gate(case, "g")).is_set

    @scenario
    async def test_a_narrower_gate_lets_run_what_runs(self, case: Case) -> None:
        """Nothing is ended; the next one starts when there is room below the new bound."""
        ids = await add(case, 4, places(quota=3))
        worker = await case.worker()
        running = await claim(worker)
        await case.store.set_gate(GateUse("g", PLACES, quota=1))
        await finish(worker, *running[:2])
        assert await claim(worker) == []
        await finish(worker, running[2])
        assert ids_of(await claim(worker)) == ids[3:]

    @scenario
    async def test_after_a_reset_the_next_job_says_the_numbers(self, case: Case) -> None:
        """Until one comes, the numbers stay."""
        await add(case, 1, places(quota=1))
        await case.store.set_gate(GateUse("g", PLACES, quota=9))
        assert await case.store.reset_gate("g")
        assert (await gate(case, "g")).quota == 9
        await add(case, 1, places(quota=2))
        assert (await gate(case, "g")).quota == 2
        assert not await case.store.reset_gate("g")


class TestGates:
    """Gates can be looked at, by name, a page at a time."""

    @scenario
    async def test_a_gate_shows_what_it_holds(self, case: Case) -> None:
        """Its numbers, its places in use, its room, and who waits."""
        await add(case, 5, places("b", 2), rate("a", 3, SECOND, 3))
        worker = await case.worker()
        await claim(worker)
        shown = {one.name: one for one in await case.store.gates()}
        assert list(shown) == ["a", "b"]
        assert (shown["b"].used, shown["b"].room, shown["b"].waiting) == (2, 0, 3)
        assert (shown["a"].quota, shown["a"].period, shown["a"].room) == (3, SECOND, 1)

    @scenario
    async def test_gates_come_in_pages(self, case: Case) -> None:
        """The name of the last one asks for the next page."""
        for name in "abc":
            await add(case, 1, places(name))
        first = [one.name for one in await case.store.gates(limit=2)]
        rest = [one.name for one in await case.store.gates(after=first[-1], limit=2)]
        assert (first, rest) == (["a", "b"], ["c"])
        assert await case.store.gates(only="none") == []

    @scenario
    async def test_gates_that_nobody_uses_go(self, case: Case) -> None:
        """Hours later they are pruned; one with waiting jobs, set numbers or a hand on it stays."""
        await add(case, 1, places("idle"))
        await add(case, 2, places("busy"))
        await case.store.set_gate(GateUse("set", PLACES, quota=3))
        await case.store.shut_gate("shut")
        worker = await case.worker()
        for one in await claim(worker):
            if one.gates is not None and b"idle" in one.gates:
                await finish(worker, one)
        case.clock.move(5 * HOUR / SECOND)
        await case.store.prune(100)
        assert {one.name for one in await case.store.gates()} == {"busy", "set", "shut"}

    @scenario
    async def test_a_breaker_stays_while_its_probe_runs(self, case: Case) -> None:
        """For hours, too: else its jobs would all be let through as at a closed one."""
        worker, ids = await open_by_failures(case, jobs=2)
        case.clock.move(10.1)
        [probe] = await claim(worker)
        await case.store.cancel([id_ for id_ in ids if id_ != probe.id])
        case.clock.move(5 * HOUR / SECOND)
        await case.store.prune(100)
        assert (await gate(case, "b")).tripped == 1
        await add(case, 3, breaker())
        assert await claim(worker) == []
