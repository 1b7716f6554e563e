"""A worker one of whose jobs takes every file descriptor that its process may have.

    python tests/faults/leaking.py STORE LEDGER

As a task does in the end that opens connections and forgets them. Settings come from `TREADLE_*`.
"""

import asyncio
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Final

from tests.faults.workload import LOOK_S, LOOKS_MAX, is_there
from treadle import Treadle, Worker
from treadle.testing.ledger import Ledger

SPARE: Final = 60
"""How many descriptors more than it has at its start the process may open."""
_log = logging.getLogger("leaking")
ALL_TAKEN: Final = "no descriptor is left"


def build(store: str, ledger: Ledger, *, namespace: str = "default") -> Treadle:
    """Make an application with a task that leaks, and two that need no descriptor."""
    app = Treadle(store, namespace=namespace)

    @app.task(name="leak", retry=1)
    async def leak(key: str, file: str) -> None:
        ledger.write("START", key)
        taken: list[int] = []
        for look in range(LOOKS_MAX):
            if is_there(file):
                break
            take_all(taken)
            if look == 0:
                _log.warning(ALL_TAKEN)
            await asyncio.sleep(LOOK_S)
        for descriptor in taken:
            os.close(descriptor)
        ledger.write("END", key)

    @app.task(name="on_loop", retry=1)
    async def on_loop(key: str) -> str:
        return key

    @app.task(name="in_thread", retry=1)
    def in_thread(key: str) -> str:
        return key

    return app


def take_all(taken: list[int]) -> None:
    """Take what is free, until the system refuses."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(most + 1):
        try:
            taken.append(os.dup(sys.stderr.fileno()))
        except OSError:
            return


def bind() -> None:
    """Let this process open only so many descriptors more."""
    known = max(int(link.name) for link in Path("/proc/self/fd").iterdir())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (known + SPARE, most))


def main() -> int:
    """Work until a signal comes."""
    store, ledger = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    app = build(store, Ledger(Path(ledger)))
    bind()
    return Worker(app, concurrency=4).run()


if __name__ == "__main__":
    sys.exit(main())
