"""A program for the tests of keys: producers that want the same ones, and workers."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from treadle import Treadle, Unique, Worker
from treadle.core.keys.rules import OnConflict

NAMES: Final = 5
CONFLICTS: Final[tuple[OnConflict, ...]] = ("existing", "replace")


LEASE_S: Final = 1.5
"""So that who dies is rescued within the patience of a test."""


def build(url: str, namespace: str, ledger: Path, lease: float = LEASE_S) -> Treadle:
    """Make the application: its task notes its begin and its end, a line each."""
    settings = {"lease": lease, "beat": 0.1, "suspect_after": 0.2, "poll": 0.2}
    app = Treadle(url, namespace=namespace, settings=settings)

    def note(word: str, name: str) -> None:
        file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{word} {name}\n".encode())
        os.close(file)

    @app.task(name="hold", unique=Unique(key="{name}"))
    def hold(name: str, turn: int) -> int:
        note("START", name)
        time.sleep(0.002)
        note("END", name)
        return turn

    return app


def produce(app: Treadle, rounds: int, ways: int) -> None:
    """Enqueue single jobs and batches; print the ids of those that were stored."""
    hold = app.named("hold")
    for turn in range(rounds):
        for way in CONFLICTS[:ways]:
            task = hold.using(unique=Unique(key="{name}", on_conflict=way))
            jobs = task.enqueue_many([(f"k{n}", turn) for n in range(NAMES)])
            jobs.append(task.enqueue(f"k{turn % NAMES}", turn))
            stored = [job.id for job in jobs if not job.is_duplicate]
            sys.stdout.write("".join(f"{id_}\n" for id_ in stored))
            sys.stdout.flush()


def main() -> int:
    """Be a producer or a worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["producer", "worker"])
    parser.add_argument("url")
    parser.add_argument("namespace")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--ways", type=int, default=2)
    said = parser.parse_args()
    app = build(said.url, said.namespace, said.ledger, said.lease)
    if said.role == "worker":
        return Worker(app, concurrency=4, burst=not said.stay).run()
    produce(app, said.rounds, said.ways)
    app.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
