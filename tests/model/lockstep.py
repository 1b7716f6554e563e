"""Lockstep: every verb is done to a store and to the oracle, and both must agree.

The workers here are the store's users: they hold claims, forget answers, die, come back
with late settlements and send requests again. `check` compares every job after every verb.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from tests.model.oracle import Oracle, Row
from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import TERMINAL, Claim, Fate, JobRecord, JobState, NewJob
from treadle.core.lanes import Demand
from treadle.core.outcome import Outcome, Settlement, Verdict, WorkerLost
from treadle.store.contract import BATCH_MAX, Exchanged, Store
from treadle.testing.conformance.kit import settlement, worker_info

LEASE: Final = 15 * SECOND
WATCH: Final = 5 * SECOND
T = TypeVar("T")


@dataclass
class Mate:
    """A worker: what it believes it holds, and what the oracle knows of its life."""

    name: str
    beat_at: int
    held: list[Claim] = field(default_factory=list)
    past: list[Claim] = field(default_factory=list)
    """Claims that it settled or lost, for late settlements."""
    unheld: set[tuple[bytes, int]] = field(default_factory=set)
    looks: dict[str, int] = field(default_factory=dict)
    """When a rescuer first found its lease at an end, by the rescuer's name."""
    gone: bool = False
    may_be_gone: bool = False
    last: tuple[bytes, Sequence[Settlement], Demand | None, Exchanged] | None = None


class Lockstep:
    """A store and the oracle, side by side."""

    def __init__(self, store: Store, clock: MovedClock) -> None:
        self.store = store
        self.clock = clock
        self.oracle = Oracle()
        self.mates: list[Mate] = []
        self.batches: list[tuple[bytes, list[NewJob], list[Fate]]] = []
        self._runner = asyncio.Runner()
        self.run(store.open())

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Carry out one verb of the store."""
        return self._runner.run(verb)

    def close(self) -> None:
        """Let go of the store and the loop."""
        self.run(self.store.close())
        self._runner.close()

    @property
    def now(self) -> int:
        """The wall clock of both."""
        return self.clock.wall()

    # The line

    def enqueue(self, jobs: list[NewJob]) -> None:
        """Store a batch."""
        request = new_id()
        states = list(self.run(self.store.enqueue(request, jobs)))
        assert states == self.oracle.enqueue(jobs, self.now)
        self.batches.append((request, jobs, states))

    def enqueue_again(self, batch: int) -> None:
        """Send an earlier batch again, while all its jobs are there."""
        request, jobs, states = self.batches[batch]
        if all(job.id in self.oracle.rows for job in jobs):
            assert list(self.run(self.store.enqueue(request, jobs))) == states

    def exchange(
        self, mate: Mate, done: list[tuple[Claim, Outcome]], demand: Demand, *, lose: bool
    ) -> None:
        """Settle and claim; `lose` drops the answer, as a broken connection does."""
        request = new_id()
        batch = [settlement(claim, outcome) for claim, outcome in done]
        answer = self.run(self.store.exchange(mate.name, request, batch, demand))
        assert list(answer.verdicts) == self.oracle.settle(batch, self.now)
        self._learn_gone(mate, gone=answer.gone)
        if mate.gone:
            assert not answer.claims
        else:
            self._compare_claims(mate, demand, answer)
            # An exchange that did nothing is not remembered: sent again, it may do something.
            did_something = bool(batch or answer.claims)
            mate.last = (request, batch, demand, answer) if did_something else None
        settled = {claim.id for claim, _ in done}
        mate.past += [claim for claim in mate.held if claim.id in settled]
        mate.held = [claim for claim in mate.held if claim.id not in settled]
        if not lose:
            mate.held += answer.claims

    def _compare_claims(self, mate: Mate, demand: Demand, answer: Exchanged) -> None:
        wanted = self.oracle.claimable(demand, self.now)
        given = [claim.id for claim in answer.claims]
        fitting = [row for share in demand.shares for row in self.oracle.ready(share.queue)]
        if any(row.is_late(self.now) for row in fitting):
            # A store may spend part of a claim on finding out who is late, if it says so.
            assert set(given) <= {r.job.id for r in fitting if not r.is_late(self.now)}
            assert len(given) == len(wanted) or answer.more
        else:
            assert given == wanted
        for claim in answer.claims:
            row = self.oracle.rows[claim.id]
            assert claim.number > row.number, "a claim must raise the number"
            self.oracle.claim(claim.id, claim.number, mate.name)
            assert (claim.attempt, claim.forgiven, claim.crashes) == (
                row.attempt, row.forgiven, row.crashes,
            )  # fmt: skip
            assert (claim.args, claim.task) == (row.job.args, row.job.task)

    def exchange_again(self, mate: Mate) -> None:
        """Send a worker's last exchange again: the same answer, and nothing changes."""
        last = mate.last
        if last is None or mate.gone:
            return
        request, batch, demand, first = last
        answer = self.run(self.store.exchange(mate.name, request, batch, demand))
        if self._learn_gone(mate, gone=answer.gone):
            assert not answer.claims
            return
        assert list(answer.verdicts) == list(first.verdicts)
        there = [claim for claim in first.claims if claim.id in self.oracle.rows]
        given = [(c.id, c.number) for c in answer.claims if c.id in self.oracle.rows]
        assert given == [(claim.id, claim.number) for claim in there]
        known = {(claim.id, claim.number) for claim in [*mate.held, *mate.past]}
        mate.held += [c for c in answer.claims if (c.id, c.number) not in known]

    def settle_late(self, mate: Mate, claim: Claim, outcome: Outcome) -> None:
        """Settle a claim that may be over by any way at all."""
        batch = [settlement(claim, outcome)]
        answer = self.run(self.store.exchange(mate.name, new_id(), batch, None))
        assert list(answer.verdicts) == self.oracle.settle(batch, self.now)
        mate.last = None
        self._learn_gone(mate, gone=answer.gone)

    # Workers

    def register(self, name: str) -> None:
        """Let a new worker come."""
        self.run(self.store.register(worker_info(name, lease=LEASE)))
        self.mates.append(Mate(name, self.clock.monotonic()))

    def beat(self, mate: Mate) -> None:
        """Beat with what the worker believes it holds."""
        held = [(claim.id, claim.number) for claim in mate.held]
        answer = self.run(self.store.beat(mate.name, held))
        self._learn_gone(mate, gone=answer.gone)
        if mate.gone:
            return
        mate.beat_at = self.clock.monotonic()
        mate.looks.clear()
        own = {(row.job.id, row.number) for row in self.oracle.running(mate.name)}
        assert {tuple(pair) for pair in answer.revoked} == set(held) - own
        revoked = set(held) - own
        mate.past += [claim for claim in mate.held if (claim.id, claim.number) in revoked]
        mate.held = [claim for claim in mate.held if (claim.id, claim.number) not in revoked]
        self._learn_returned(mate, own - set(held), answer.returned)

    def _learn_returned(self, mate: Mate, unheld: set[tuple[bytes, int]], returned: int) -> None:
        """Only what was out of its hands at two beats may go back; the store says which."""
        twice = sorted(unheld & mate.unheld)
        mate.unheld = unheld
        records = self.run(self.store.get([job for job, _ in twice]))
        back = [r.id for r in records if r is not None and r.state is JobState.READY]
        assert len(back) == returned
        self.oracle.give_back(self.oracle.rows[job] for job in back)

    def leave(self, mate: Mate) -> None:
        """Let a worker go in good order."""
        running = self.oracle.running(mate.name)
        assert self.run(self.store.leave(mate.name)) == self.oracle.give_back(running)
        mate.gone = True

    def rescue(self, mate: Mate) -> None:
        """Look for dead workers, with a beat just before."""
        self.beat(mate)
        if mate.gone:
            return
        orphans = self.run(self.store.rescue(mate.name, BATCH_MAX))
        found = {orphan.claim.id: orphan for orphan in orphans}
        for other in self.mates:
            if other is not mate and not other.gone:
                self._compare_rescue(mate, other, set(found))
        outcomes: list[Settlement] = []
        for job, orphan in found.items():
            row = self.oracle.rows[job]
            assert orphan.claim.number > row.number
            assert (orphan.claim.attempt, orphan.lost_by) == (row.attempt, row.worker)
            row.worker, row.number = mate.name, orphan.claim.number
            outcomes.append(settlement(orphan.claim, WorkerLost(orphan.lost_by)))
        if outcomes:
            answer = self.run(self.store.exchange(mate.name, new_id(), outcomes, None))
            assert list(answer.verdicts) == self.oracle.settle(outcomes, self.now)
            assert set(answer.verdicts) == {Verdict.APPLIED}
            mate.last = None

    def _compare_rescue(self, mate: Mate, other: Mate, found: set[bytes]) -> None:
        """Within its lease nobody is rescued; looked at twice, everybody is."""
        at = self.clock.monotonic()
        running = {row.job.id for row in self.oracle.running(other.name)}
        if at - other.beat_at <= LEASE:
            assert not running & found, "a worker within its lease was rescued"
            return
        watched = {name: at - since for name, since in other.looks.items()}
        other.looks.setdefault(mate.name, at)
        if watched.get(mate.name, 0) >= WATCH:
            assert running <= found, "a worker that was looked at twice was not rescued"
        if running & found:
            assert max(watched.values(), default=0) >= WATCH, "one look was enough"
            other.gone = True
        # Whether a dead worker that held nothing is still known is the store's business.
        other.may_be_gone = bool(watched)

    def _learn_gone(self, mate: Mate, *, gone: bool) -> bool:
        """Check that a worker that is told to be gone may be, and remember it."""
        if gone:
            assert mate.gone or mate.may_be_gone, "a worker is gone that should not be"
        else:
            assert not mate.gone, "a worker that is gone was answered as if it lived"
        mate.gone = gone
        mate.may_be_gone = False
        return gone

    # Upkeep and control

    def stage(self, tasks: Sequence[str]) -> None:
        """Make due jobs ready."""
        self.run(self.store.stage(tasks, BATCH_MAX))
        self.oracle.stage(tasks, self.now)

    def prune(self) -> None:
        """Delete what is over."""
        assert self.run(self.store.prune(BATCH_MAX)) == self.oracle.prune(self.now)

    def cancel(self, jobs: list[bytes]) -> None:
        """Cancel jobs."""
        done = self.run(self.store.cancel(jobs))
        assert list(done) == [self.oracle.cancel(job, self.now) for job in jobs]

    def retry(self, jobs: list[bytes]) -> None:
        """Retry jobs."""
        done = self.run(self.store.retry(jobs))
        assert list(done) == [self.oracle.retry(job, self.now) for job in jobs]

    def discard(self, jobs: list[bytes]) -> None:
        """Discard jobs."""
        done = self.run(self.store.discard(jobs))
        assert list(done) == [self.oracle.discard(job) for job in jobs]

    def purge(self, queue: str) -> None:
        """Cancel what waits in a queue."""
        count = self.run(self.store.purge(queue, limit=BATCH_MAX))
        assert count == self.oracle.purge(queue, self.now)

    def pause(self, queue: str) -> None:
        """Pause a queue."""
        assert self.run(self.store.pause(queue)) == (queue not in self.oracle.paused)
        self.oracle.paused.add(queue)

    def resume(self, queue: str) -> None:
        """Resume a queue."""
        assert self.run(self.store.resume(queue)) == (queue in self.oracle.paused)
        self.oracle.paused.discard(queue)

    # Comparing

    def check(self) -> None:
        """Compare every job, and count them all."""
        ids = list(self.oracle.rows)
        for job, record in zip(ids, self.run(self.store.get(ids)), strict=True):
            assert record is not None, f"the store lost job {job.hex()}"
            row = self.oracle.rows[job]
            if record.state is JobState.EXPIRED and row.state is JobState.READY:
                # A claim found it late before stage did.
                assert row.is_late(self.now)
                row.end(JobState.EXPIRED, self.now)
                row.keep_until = record.keep_until
            assert record.state is row.state, job.hex()
            self._compare(row, record)
        counted = [sum(queue.counts.values()) for queue in self.run(self.store.queues())]
        assert sum(counted) == len(ids) == self.oracle.enqueued - self.oracle.deleted

    @staticmethod
    def _compare(row: Row, record: JobRecord) -> None:
        spent = (record.attempt, record.forgiven, record.crashes)
        assert spent == (row.attempt, row.forgiven, row.crashes)
        assert record.claim >= row.number, "a claim number fell"
        row.number = record.claim if row.state is not JobState.RUNNING else row.number
        if row.state is JobState.RUNNING:
            assert (record.claim, record.worker) == (row.number, row.worker)
        if row.state in {JobState.SCHEDULED, JobState.RETRYING}:
            assert record.run_at == row.run_at
        if row.state is JobState.SUCCEEDED:
            assert record.result == row.result
        if row.reason is not None:
            assert record.reason == row.reason
        assert (record.keep_until is not None) == (row.state in TERMINAL)
        assert record.keep_until == row.keep_until
