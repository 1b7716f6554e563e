"""Fault points: named places between two steps where a test may end or upset the process.

Inert in production: one comparison. A test arms one hook for the whole process; the points
are found by reading the source for calls of `point`, so a new one is swept without a new test.
"""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """Tell the armed hook that the process has come to this place."""
    if _hook is not None:
        _hook(name)


def arm(hook: Callable[[str], None] | None) -> None:
    """Arm a hook for every point of this process, or disarm with None."""
    global _hook  # noqa: PLW0603 -- one hook a process is the point of it
    _hook = hook
