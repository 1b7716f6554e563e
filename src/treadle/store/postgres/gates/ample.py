"""The short way of an exchange whose gates have room for all: most of a drain goes by it.

Where the last exchange has found that nobody waits at its gates and that they have room, the next
one takes it that they still do, settles before it locks them, and leaves out all that is for those
who wait. The server looks again, under the locks: where that no longer holds, or a gate turns up
that was not seen, it claims nothing, and the next exchange says all. Whoever has to be woken is
woken at once, in a transaction of its own; should we die before it, by the next `stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core.job import JobState
from treadle.store.postgres.engine.pack import int8, texts, uuids
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Call, Rows
from treadle.store.postgres.gates.line import Seen, names_of

if TYPE_CHECKING:
    from treadle.core.outcome import Settlement
    from treadle.store.postgres.engine.pack import Value

_FREED: Final = 1
"""The place of what `free_noted` answers, among the answers to `between`."""


class Ample(Struct, frozen=True):
    """The gates of an exchange that has room at all of them, in place of `Seen`."""

    names: tuple[str, ...]
    settled: Sequence[Settlement]
    """Those whose claims hold something."""
    queues: tuple[str, ...] | None
    common: bytes | None
    """The gates that most jobs carry; neither side repeats them for each of these."""
    lock: str = "lock_worker_gated"
    claim: str = "claim_ample"

    @property
    def succeeded(self) -> tuple[str, Sequence[Value]]:
        """The statement for settlements that are successes, and what it is told besides."""
        return "settle_noted", (self.common,)

    def told(self) -> list[Value]:
        """Give what the claim is told besides."""
        return [texts(self.names), self.common]

    def before(
        self,
        sql: Statements,  # noqa: ARG002 -- as Seen.before
        me: tuple[Value, Value],  # noqa: ARG002
    ) -> list[Call]:
        """Nothing: settling locks the jobs, and gates are locked after it."""
        return []

    def between(self, sql: Statements) -> list[Call]:
        """Lock the gates, and let go of what settled claims have held."""
        calls: list[Call] = [(sql["lock_gates"], (texts(self.names),))]
        if self.settled:
            calls.append((sql["free_noted"], (uuids([one.id for one in self.settled]),)))
        return calls

    def after(
        self,
        sql: Statements,
        worker: Value,
        wanted: int,
        *,
        many: bool,  # noqa: ARG002 -- nothing is parked on the short way
    ) -> list[Call]:
        """Ask whether any job is left ready."""
        return [(sql["any_left"], (worker, int8(wanted), names_of(self.queues)))]

    def is_calm(self, answers: Sequence[Rows], *, claimed: bool) -> bool:
        """Tell from the answers to `after`: it has claimed something, or there was nothing."""
        return claimed or not answers[-1][0][0]

    def to_wake(self, answers: Sequence[Rows]) -> list[str]:
        """Read from the answers to `between` at which gates somebody is to be woken."""
        return [name for (name,) in answers[_FREED]] if self.settled else []


def ample(seen: Seen, settlements: Sequence[Settlement], common: bytes | None) -> Ample | None:
    """Take the short way where all that is settled has succeeded and goes to one table."""
    simple = all(
        one.state is JobState.SUCCEEDED and not one.tells and not one.keyed for one in settlements
    )
    if not simple or seen.missing or seen.changed or len({one.keep for one in settlements}) > 1:
        return None
    return Ample(seen.names, seen.settled, seen.queues, common)
