"""Random walks through the contract on Redis, in lock step with the oracle."""

import secrets
import sys

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.model.lockstep import Lockstep
from tests.model.test_model import RUNS, SEED, STEPS, Walk
from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.settings import Settings
from treadle.store.open import open_store


@pytest.mark.timeout(120 + RUNS)
def test_redis_and_the_oracle_agree(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is done in whatever order, states, attempts, order and verdicts are the same."""

    class WalkOnRedis(Walk):
        """The walk on a namespace of its own."""

        def __init__(self) -> None:
            RuleBasedStateMachine.__init__(self)
            clock = MovedClock(1_800_000_000 * SECOND)
            own = f"walk_{secrets.token_hex(6)}"
            self.both = Lockstep(open_store(redis_url, own, Settings(), clock), clock)
            self.names = 0

        def teardown(self) -> None:
            self.both.close()

    try:
        run_state_machine_as_test(
            seed(SEED)(WalkOnRedis),
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
            sys.stdout.write(f"\nreplay: MODEL_SEED={SEED} MODEL_RUNS={RUNS} make test\n")
        raise
