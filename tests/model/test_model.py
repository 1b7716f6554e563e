"""Random walks through the store contract, a store and the oracle in lock step.

`make test` takes short walks. A long run: `MODEL_RUNS=5000 make test ARGS=tests/model`.
A failure prints its seed; Hypothesis cuts the walk down to the steps that matter.
"""

import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.lockstep import Lockstep, Mate
from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.job import ErrorInfo
from treadle.core.lanes import Demand, Step
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Rejected,
    Released,
    Snoozed,
    Succeeded,
    TaskUnknown,
)
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.testing.conformance.kit import new_job

# Read before the tests run: a fixture hides the environment from them.
RUNS = int(os.environ.get("MODEL_RUNS", "25"))
SEED = int(os.environ.get("MODEL_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
COMMAND = "make test ARGS=tests/model"
STEPS = 60
MATES_MAX = 3
QUEUES = ["a", "b", "c"]
TASKS = ["red", "blue"]
ERROR = ErrorInfo("ValueError", "no")
OUTCOMES: list[Outcome] = [
    Succeeded(b"1"),
    Succeeded(None),
    Failed(ERROR, delay=7 * SECOND),
    Failed(ERROR, retryable=False),
    Snoozed(3 * SECOND),
    Cancelled("enough"),
    Rejected(ERROR, "bad_result"),
    Released(),
    TaskUnknown(),
]

picks = st.integers(0, 1_000)
queues = st.sampled_from(QUEUES)
outcomes = st.sampled_from(OUTCOMES)
kinds = st.fixed_dictionaries(
    {
        "task": st.sampled_from(TASKS),
        "queue": queues,
        "priority": st.sampled_from([-1, 0, 0, 5]),
        "delay": st.sampled_from([0, 0, 0, 2 * SECOND, 20 * SECOND]),
        "expires_in": st.sampled_from([None, None, None, 6 * SECOND]),
    }
)
"""What jobs are like, without their ids: a walk is printed, and ids would hide the rest."""
merged = st.builds(Demand, st.integers(0, 6), st.just((Step(None, 6),)))
strict = st.builds(
    lambda total, queues, limit: Demand(total, tuple(Step(queue, limit) for queue in queues)),
    st.integers(1, 6),
    st.permutations(QUEUES),
    st.integers(1, 4),
)


class Walk(RuleBasedStateMachine):
    """Verbs in random order, by several workers, while time goes by."""

    on_disk = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        clock = MovedClock(1_800_000_000 * SECOND)
        url = f"sqlite:///{Path(self.folder.name, 'jobs.db')}" if self.on_disk else "memory://"
        self.both = Lockstep(open_store(url, "default", Settings(), clock), clock)
        self.names = 0

    def teardown(self) -> None:
        """Close the store."""
        self.both.close()
        self.folder.cleanup()

    def mate(self, pick: int) -> Mate:
        """Choose one of the last workers; some are gone, which they may have yet to learn."""
        last = self.both.mates[-MATES_MAX - 1 :]
        return last[pick % len(last)]

    def some(self, chosen: list[int]) -> list[bytes]:
        """Choose jobs, and now and then an id that is none."""
        ids = [*self.both.oracle.rows, bytes(16)]
        return [ids[pick % len(ids)] for pick in chosen]

    @invariant()
    def both_agree(self) -> None:
        """Compare after every step."""
        self.both.check()

    @rule(batch=st.lists(kinds, min_size=1, max_size=6))
    def enqueue(self, batch: list[dict[str, Any]]) -> None:
        """Store a batch."""
        self.both.enqueue([new_job(**kind) for kind in batch])

    @precondition(lambda self: self.both.batches)
    @rule(pick=picks)
    def enqueue_again(self, pick: int) -> None:
        """Send an earlier batch again."""
        self.both.enqueue_again(pick % len(self.both.batches))

    @initialize()
    def begin(self) -> None:
        """Begin with two workers and something to do."""
        self.register()
        self.register()
        self.both.enqueue([new_job(queue=queue, task=task) for queue in QUEUES for task in TASKS])

    @precondition(lambda self: sum(not m.gone for m in self.both.mates) < MATES_MAX)
    @rule()
    def register(self) -> None:
        """A worker comes."""
        self.names += 1
        self.both.register(f"w{self.names}")

    @precondition(lambda self: self.both.mates)
    @rule(pick=picks, done=st.lists(outcomes, max_size=4), demand=merged | strict)
    def exchange(self, pick: int, done: list[Outcome], demand: Demand) -> None:
        """Settle some of what is held and claim more; one answer in eight is lost."""
        mate = self.mate(pick)
        settled = list(zip(mate.held, done, strict=False))
        self.both.exchange(mate, settled, demand, lose=pick % 8 == 0)

    @precondition(lambda self: self.both.mates)
    @rule(pick=picks)
    def exchange_again(self, pick: int) -> None:
        """Send the last exchange again."""
        self.both.exchange_again(self.mate(pick))

    @precondition(lambda self: any(mate.past for mate in self.both.mates))
    @rule(pick=picks, outcome=outcomes)
    def settle_late(self, pick: int, outcome: Outcome) -> None:
        """Settle a claim of the past."""
        mates = [mate for mate in self.both.mates if mate.past]
        mate = mates[pick % len(mates)]
        self.both.settle_late(mate, mate.past[pick % len(mate.past)], outcome)

    @precondition(lambda self: self.both.mates)
    @rule(pick=picks)
    def beat(self, pick: int) -> None:
        """Beat."""
        self.both.beat(self.mate(pick))

    @precondition(lambda self: self.both.mates)
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        """Leave."""
        self.both.leave(self.mate(pick))

    @precondition(lambda self: self.both.mates)
    @rule(pick=picks)
    def rescue(self, pick: int) -> None:
        """Look for the dead."""
        self.both.rescue(self.mate(pick))

    @precondition(lambda self: len(self.both.mates) > 1)
    @rule(pick=picks, demand=merged, waits=st.permutations([5.3, 5.3, 16.7]))
    def die(self, pick: int, demand: Demand, waits: list[float]) -> None:
        """Let a worker claim and fall silent, while another one looks for the dead."""
        self.both.exchange(self.mate(pick), [], demand, lose=False)
        for wait in waits:
            self.both.clock.move(wait)
            self.both.rescue(self.mate(pick + 1))
            self.both.check()

    @rule(tasks=st.lists(st.sampled_from(TASKS), max_size=1))
    def stage(self, tasks: list[str]) -> None:
        """Make due jobs ready."""
        self.both.stage(tasks)

    @rule()
    def prune(self) -> None:
        """Delete what is over."""
        self.both.prune()

    @rule(chosen=st.lists(picks, max_size=3))
    def cancel(self, chosen: list[int]) -> None:
        """Cancel jobs."""
        self.both.cancel(self.some(chosen))

    @rule(chosen=st.lists(picks, max_size=3))
    def retry(self, chosen: list[int]) -> None:
        """Retry jobs."""
        self.both.retry(self.some(chosen))

    @rule(chosen=st.lists(picks, max_size=3))
    def discard(self, chosen: list[int]) -> None:
        """Discard jobs."""
        self.both.discard(self.some(chosen))

    @rule(queue=queues)
    def purge(self, queue: str) -> None:
        """Purge a queue."""
        self.both.purge(queue)

    @rule(queue=queues)
    def pause(self, queue: str) -> None:
        """Pause a queue."""
        self.both.pause(queue)

    @rule(queue=queues)
    def resume(self, queue: str) -> None:
        """Resume a queue."""
        self.both.resume(queue)

    @rule(by=st.sampled_from([0.3, 1.1, 5.3, 16.7, 16.7, 4_000, 90_000, 31 * 86_400]))
    def move(self, by: float) -> None:
        """Let time go by."""
        self.both.clock.move(by)


class WalkOnDisk(Walk):
    """The same on a file."""

    on_disk = True


@pytest.mark.timeout(120 + RUNS)
@pytest.mark.parametrize("walk", [Walk, WalkOnDisk], ids=["memory", "file"])
def test_a_store_and_the_oracle_agree(walk: type[Walk], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is done in whatever order, states, attempts, order and verdicts are the same."""
    seeded = seed(SEED)(walk)
    try:
        run_state_machine_as_test(
            seeded,
            settings=settings(
                max_examples=RUNS,
                stateful_step_count=STEPS,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException:
        with capsys.disabled():
            sys.stdout.write(f"\nreplay: MODEL_SEED={SEED} MODEL_RUNS={RUNS} {COMMAND}\n")
        raise
