"""How does an error become text that can be stored?

Whatever a task raises is described here in bounded text: its type, its message and the last
frames of its traceback, without local variables and without the frames of the worker itself.
A task's exception may be hostile (a `str()` that raises, a million notes, lone surrogates), so
nothing here trusts it. What becomes of the job is not told here: see `raised`.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final

from treadle.core.job import ErrorInfo

MESSAGE_MAX: Final = 2_000
"""Characters of a message."""
TRACEBACK_BYTES_MAX: Final = 16 * 1024
"""Bytes of a traceback in UTF-8."""
_FRAMES_MAX: Final = 40
# A retry loop inside a task can chain an error to thousands of earlier ones, and a group can
# hold as many; beyond this count only the error itself is shown.
_RELATED_MAX: Final = 25
_CUT: Final = "..."

_KINDS: Final = ("cr", "gi", "ag")
"""How the attributes of suspended code begin: coroutine, generator, asynchronous generator."""

_MACHINERY: Final = str(Path(__file__).parents[1]) + os.sep
"""The folder whose frames say nothing to the author of a task."""
_CALLERS: Final = {_MACHINERY + "execute.py", str(Path(_MACHINERY, "executors", "bridge.py"))}
"""The files that call the task's code."""


def describe(error: BaseException, message: str | None = None) -> ErrorInfo:
    """Describe an error in bounded text; never raises, whatever the error is.

    Args:
        error: what was raised.
        message: what to say instead of the error's own text.
    """
    said = _quietly(str, error, "message") if message is None else message
    return ErrorInfo(
        type_name(type(error)), bounded(said), _quietly(_traceback, error, "traceback")
    )


def type_name(kind: type[BaseException]) -> str:
    """Name an exception class: bare when built in or public in treadle, else with its module."""
    module, name = str(kind.__module__), str(kind.__qualname__)
    if module.partition(".")[0] == "treadle":
        name = f"treadle.{name}"
    elif module != "builtins":
        name = f"{module}.{name}"
    return bounded(name)


def bounded(text: str, limit: int = MESSAGE_MAX) -> str:
    """Cut a text to `limit` characters and write what UTF-8 cannot carry as escapes."""
    if len(text) > limit:
        text = text[: limit - len(_CUT)] + _CUT
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()[:limit]


def stack_text(frame: FrameType | None) -> str:
    """Write the stack below a frame, the outermost call first, in bounded text.

    Inside a task it begins with the task: what lies around that is the same for all.
    """
    if frame is None:
        return ""
    summary = traceback.StackSummary.extract(
        islice(traceback.walk_stack(frame), _FRAMES_MAX), lookup_lines=False
    )
    for place, one in enumerate(summary):
        if one.filename in _CALLERS:
            del summary[place:]
            break
    summary.reverse()
    return last_bytes(_without_machinery(summary).format())


def coroutine_stack_text(code: object) -> str:
    """Write where a coroutine waits: its own frame, then those of what it awaits."""
    summary = traceback.StackSummary()
    while code is not None and len(summary) < _FRAMES_MAX:
        kind = next((kind for kind in _KINDS if hasattr(code, f"{kind}_frame")), None)
        frame: FrameType | None = None if kind is None else getattr(code, f"{kind}_frame")
        if frame is None:
            break
        place = frame.f_code
        summary.append(traceback.FrameSummary(place.co_filename, frame.f_lineno, place.co_name))
        code = getattr(code, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return last_bytes(_without_machinery(summary).format())


def last_bytes(parts: Iterable[str]) -> str:
    """Join parts of text and keep the end: the last frames and the error stand there."""
    raw, limit = "".join(bounded(part) for part in parts).encode(), TRACEBACK_BYTES_MAX
    if len(raw) <= limit:
        return raw.decode()
    mark = f"{_CUT} {len(raw) - limit:,} bytes left out {_CUT}\n"
    return mark + raw[len(mark) - limit :].decode("utf-8", "ignore")


def _quietly(make: Callable[[BaseException], str], error: BaseException, what: str) -> str:
    """Make a text from an error; when its own code raises, say that instead."""
    try:
        return make(error)
    except BaseException as other:  # noqa: BLE001 -- the task's code runs in here
        return f"<its {what} cannot be shown: that raised {type(other).__name__}>"


def _traceback(error: BaseException) -> str:
    if _has_few_related(error):
        shown = traceback.TracebackException(
            type(error), error, error.__traceback__, limit=-_FRAMES_MAX, compact=True
        )
        _trim(shown)
        return last_bytes(shown.format())
    stack = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), limit=-_FRAMES_MAX
    )
    last = f"{type_name(type(error))}: {bounded(_quietly(str, error, 'message'))}\n"
    return last_bytes([*_without_machinery(stack).format(), last])


def _has_few_related(error: BaseException) -> bool:
    """Tell whether an error's causes, contexts and group members are few enough to show."""
    waiting, seen = [error], 0
    while waiting and seen <= _RELATED_MAX:
        one = waiting.pop()
        seen += 1
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += islice(one.exceptions, _RELATED_MAX)
    return seen <= _RELATED_MAX


def _trim(shown: traceback.TracebackException) -> None:
    """Take the worker's frames out of an error and of all it is related to."""
    waiting = [shown]
    while waiting:
        one = waiting.pop()
        one.stack = _without_machinery(one.stack)
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += getattr(one, "exceptions", None) or ()


def _without_machinery(stack: Iterable[traceback.FrameSummary]) -> traceback.StackSummary:
    return traceback.StackSummary.from_list(
        [frame for frame in stack if not frame.filename.startswith(_MACHINERY)]
    )
