"""A hand-driven line for tests of the enqueueing side: claim and settle without a worker."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from treadle.app import Treadle
from treadle.core.decide import decide
from treadle.core.ids import id_text, new_id
from treadle.core.job import Claim, ErrorInfo
from treadle.core.lanes import Lanes
from treadle.core.outcome import Failed, Outcome, Succeeded, Verdict
from treadle.core.payload.codec import ResultCodec
from treadle.core.retry import DEFAULT_POLICY
from treadle.store.contract import Note, WorkerInfo

T = TypeVar("T")


class Line:
    """One registered worker of an application, moved by the test."""

    def __init__(self, app: Treadle) -> None:
        self.app = app
        self.name = id_text(new_id())
        info = WorkerInfo(self.name, "host", 1, None, 16, 15_000_000)
        self._run(app.store.register(info))

    def claim(self) -> Claim:
        """Claim the best job."""
        demand = Lanes().demand(1)
        done = self._run(self.app.store.exchange(self.name, new_id(), (), demand))
        return done.claims[0]

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """Settle a claim as the worker would."""
        rules = self.app.settings.rules()
        settlement = decide(claim, outcome, DEFAULT_POLICY, rules, draw=lambda: 0.0)
        done = self._run(self.app.store.exchange(self.name, new_id(), (settlement,), None))
        assert done.verdicts == [Verdict.APPLIED]

    def succeed(self, value: object) -> None:
        """Claim the best job and let it return this value."""
        self.settle(self.claim(), Succeeded(ResultCodec.of().encode(value)))

    def fail(self, message: str, *, retryable: bool = False) -> None:
        """Claim the best job and let it fail."""
        self.settle(self.claim(), Failed(ErrorInfo("ValueError", message), retryable=retryable))

    def note(self, note: Note) -> None:
        """Report for a running claim."""
        self._run(self.app.store.note(self.name, (note,)))

    def leave(self) -> None:
        """Stop the worker, as a store that is closed expects."""
        self._run(self.app.store.leave(self.name))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)
