"""A program that an error strikes at each place of an enqueue at which Python lets one.

Run as `python -m tests.faults.struck URL NAMESPACE` on a store that is there. Prints what became of
it as JSON. It is a process of its own: an error that another test has left to a thread that ended
(`PyThreadState_SetAsyncExc`) would have CPython 3.11 trace one instruction for ever.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dis import opname
from types import FrameType
from typing import Any, Final

from tests.faults.striking import SOURCES, opened
from treadle import StoreError

CHECKED: Final = ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD")
"""After these Python looks whether there is a signal, or an error for the thread, and at no other
instruction; so a lock that `with` has taken is always given back."""


class Struck(BaseException):
    """What strikes."""


class Striker:
    """Raises an error at one of the places of treadle's code at which Python may."""

    def __init__(self) -> None:
        self.at = 0
        self.places = 0
        self.struck = ""
        self._last: dict[FrameType, str] = {}

    def trace(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
        """Count the places, and strike at one."""
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            last = self._last.get(frame, "RESUME")
            self._last[frame] = opname[frame.f_code.co_code[frame.f_lasti]]
            self.places += last in CHECKED
            if last in CHECKED and self.places == self.at:
                self.struck = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise Struck
        return self.trace

    @contextmanager
    def armed(self, at: int) -> Iterator[None]:
        """Strike at this place of the block."""
        self.at, self.places, self.struck = at, 0, ""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        except Struck:
            assert self.struck
        finally:
            sys.settrace(before)
            self._last.clear()


def main(url: str, namespace: str) -> None:
    """Strike at every place of an enqueue, and enqueue once more after each."""
    with closing(opened(url, namespace)) as app:
        app.enqueue("touch", "first")
        # One that is struck as it hands its turn on is given up for lost after that time.
        app.link.writer._patience = 0.1  # noqa: SLF001
        striker = Striker()
        with striker.armed(0):
            app.enqueue("touch", "counts")
        places, later, refused = striker.places, [], list[str]()
        for at in range(1, places + 1):
            with striker.armed(at):
                app.enqueue("touch", "struck")
            try:
                later.append(app.enqueue("touch", "later"))
            except StoreError as error:
                refused.append(f"after an error at {striker.struck}: {error}")
        stored = [job.refresh().args for job in later].count(("later",))
    print(json.dumps({"places": places, "stored": stored, "refused": refused}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
