"""A worker or a producer of a torture run: the workload of the crash tests, more talkative.

    python tests/torture/crew.py worker STORE LEDGER [--slots N]
    python tests/torture/crew.py producer STORE LEDGER PREFIX SEED

A worker writes each verdict that it is given into the ledger, before treadle itself acts on it.
A producer goes on until SIGTERM, and never gives up: what raises is noted, and the next follows.
"""

import argparse
import logging
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.faults import workload
from treadle import StoreError, Treadle, Worker
from treadle.core.ids import id_text
from treadle.core.outcome import Settlement, Verdict
from treadle.testing.ledger import Ledger, Word
from treadle.worker.settler import Settler

_log: Final = logging.getLogger("torture")

PAUSE_S: Final = 1.0
"""Between two rounds of a producer; with the jobs of a round it sets the load."""
SINGLES: Final = 3
LONGER: Final = 3
BATCH_MAX: Final = 30
RARE: Final = 25
"""One round of so many has a job that runs for longer than a lease."""


def note_verdicts(ledger: Ledger) -> None:
    """Write each verdict down from now on."""
    tell = Settler.tell

    def noting(self: Settler, settlement: Settlement, verdict: Verdict) -> None:
        word: Word = "APPLIED" if verdict is Verdict.APPLIED else "LOST"
        ledger.write(word, f"{id_text(settlement.id)}:{settlement.number}:{settlement.state}")
        tell(self, settlement, verdict)

    Settler.tell = noting  # type: ignore[method-assign]


class Producer:
    """Enqueues in each way there is, noting each try and what became of it."""

    def __init__(self, app: Treadle, ledger: Ledger, prefix: str, seed: int) -> None:
        self.app = app
        self.ledger = ledger
        self.prefix = prefix
        self.draw = random.Random(seed)  # noqa: S311 -- the seed is what replays the run
        self.made = 0
        self.stopping = threading.Event()
        self.sells = not app.settings.store.startswith("redis")

    def stop(self, _: int, __: FrameType | None) -> None:
        """Stop after this round."""
        self.stopping.set()

    def go(self) -> None:
        """Enqueue round after round."""
        rounds = 0
        while not self.stopping.is_set():
            rounds += 1
            self.round(rare=rounds % RARE == 0)
            self.stopping.wait(PAUSE_S)

    def round(self, *, rare: bool) -> None:
        """Enqueue a few jobs of each kind."""
        for _ in range(SINGLES):
            self.one("touch")
        for task in ("flaky", "spawn"):
            self.one(task)
        if self.sells:
            self.one(self.draw.choice(["sell", "sell_in_thread"]))
        for _ in range(LONGER):
            # Long enough that a worker which dies or stands still has some of them in its hands.
            self.one("slow", self.draw.choice([0.05, 0.3, 1.0, 1.5]))
        if rare:
            self.one("slow", 5.0)
            self.one("reject")
        self.many("touch_in_thread", self.draw.randint(2, BATCH_MAX))

    def key(self) -> str:
        """Make the next key."""
        self.made += 1
        return f"{self.prefix}-{self.made}"

    def one(self, task: str, *rest: float) -> None:
        """Enqueue one job."""
        key = self.key()
        self.noted([key], lambda: self.app.enqueue(task, key, *rest))

    def many(self, task: str, count: int) -> None:
        """Enqueue a batch."""
        keys = [self.key() for _ in range(count)]
        self.noted(keys, lambda: self.app.named(task).enqueue_many([(key,) for key in keys]))

    def noted(self, keys: list[str], enqueue: Callable[[], Any]) -> None:
        """Note the try, and what became of it."""
        self.ledger.write("TRY", *keys)
        try:
            enqueue()
        except StoreError as error:
            self.ledger.write("ERR", *keys)
            _log.warning("an enqueue raised: %s", error)
        else:
            self.ledger.write("OK", *keys)


def main() -> int:
    """Be a worker or a producer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["worker", "producer"])
    parser.add_argument("store")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("prefix", nargs="?", default="p")
    parser.add_argument("seed", nargs="?", type=int, default=0)
    parser.add_argument("--slots", type=int, default=8)
    said = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    ledger = Ledger(said.ledger)
    app = workload.build(said.store, ledger)
    if said.role == "producer":
        producer = Producer(app, ledger, said.prefix, said.seed)
        signal.signal(signal.SIGTERM, producer.stop)
        producer.go()
        return 0
    note_verdicts(ledger)
    return Worker(app, concurrency=said.slots, grace=10.0).run()


if __name__ == "__main__":
    sys.exit(main())
