"""A program that is struck by a signal at each line of treadle's code that a call comes to.

Run as `python -m tests.faults.striking URL NAMESPACE CALL` on a store that is there: the handler of
the signal enqueues. Prints what became of it all as JSON; a call that waits for itself ends the
program with its traceback. It is a process of its own, so that one that hangs can be ended.
"""

import asyncio
import faulthandler
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import treadle
from treadle import StoreUnavailable, Treadle

SOURCES: Final = str(Path(treadle.__file__).parent)
TIMEOUT_S: Final = 20
"""The store's: so long a call that is struck may wait for itself."""
HANG_S: Final = 15.0
"""After how long a call counts as one that does."""
Call = Callable[[Treadle], object]


class Striker:
    """Sends this process a signal at one line of treadle's code; its handler enqueues."""

    def __init__(self, app: Treadle) -> None:
        self.app = app
        self.at = 0
        self.lines = 0
        self.refused: list[str] = []
        self.stored: list[str] = []
        self.slowest = 0.0

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Enqueue, as a user's handler does."""
        begun = time.monotonic()
        try:
            self.stored.append(self.app.enqueue("touch", "handler").id)
        except StoreUnavailable as error:
            self.refused.append(str(error))
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def trace(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
        """Count the lines of treadle's code, and strike at one."""
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                signal.raise_signal(signal.SIGUSR1)
        return self.trace

    def strike(self, call: Call, at: int) -> None:
        """Make a call and strike at one of its lines; end the program where it hangs."""
        self.at, self.lines = at, 0
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        sys.settrace(self.trace)
        try:
            call(self.app)
        finally:
            sys.settrace(None)
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def handling(striker: Striker) -> Iterator[None]:
    """Set the handler of a striker."""
    before = signal.signal(signal.SIGUSR1, striker.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def touch(key: str) -> None:
    """Do nothing."""


def opened(url: str, namespace: str = "default") -> Treadle:
    """Open an application that knows `touch`."""
    app = Treadle(url, namespace=namespace, settings={"store_timeout": TIMEOUT_S})
    app.task(name="touch")(touch)
    return app


def enqueue(app: Treadle) -> object:
    """Enqueue one job."""
    return app.enqueue("touch", "main")


def enqueue_many(app: Treadle) -> object:
    """Enqueue two at once."""
    return app.named("touch").enqueue_many([("main",), ("main",)])


def look(app: Treadle) -> object:
    """Read a job."""
    return app.job(app.enqueue("touch", "main").id).refresh()


def lists(app: Treadle) -> object:
    """Ask through the background loop."""
    return app.jobs(limit=1)


def on_a_loop(app: Treadle) -> object:
    """Enqueue from a coroutine."""

    async def both() -> None:
        await app.aenqueue("touch", "main")
        await app.named("touch").aenqueue_many([("main",), ("main",)])

    return asyncio.run(both())


CALLS: Final = {one.__name__: one for one in (enqueue, enqueue_many, look, lists, on_a_loop)}


def main(url: str, namespace: str, name: str) -> None:
    """Strike at every line of one call."""
    call = CALLS[name]
    with closing(opened(url, namespace)) as app:
        call(app)
        striker = Striker(app)
        with handling(striker):
            striker.strike(call, 0)
            for at in range(1, striker.lines + 1):
                striker.strike(call, at)
        found = [app.job(id_).args for id_ in striker.stored]
    said = {
        "slowest": striker.slowest, "refused": striker.refused, "stored": len(striker.stored),
        "others": [args for args in found if args != ("handler",)],
    }  # fmt: skip
    print(json.dumps(said))  # noqa: T201 -- what the program is for


if __name__ == "__main__":
    main(*sys.argv[1:])
