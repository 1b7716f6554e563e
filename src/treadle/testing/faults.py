"""Faults on purpose: end, stop or upset a process exactly at one of treadle's fault points.

The points are the calls of `fault.point("...")` in the sources, found by reading them. In a
test of its own process `arm_from_spec` does it; for a worker or a program of yours

    python -m treadle.testing.faults exchange.after_commit:kill@2 -- worker shop.jobs:app

runs `treadle worker ...` (or a `.py` file) with the fault armed. `count:FILE` instead of a
fault writes how often each point was reached. What a crash must not do is in `ledger`.
"""

from __future__ import annotations

import ast
import atexit
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from msgspec import Struct, json

from treadle.core import fault
from treadle.core.errors import StoreUnavailable

Action = Literal["kill", "stop", "error"]
"""kill: SIGKILL to itself; stop: SIGSTOP, as a suspended machine; error: the store is gone."""

_PACKAGE: Final = Path(__file__).parents[1]
_OURSELVES: Final = Path(__file__).parent


class Point(Struct, frozen=True, order=True):
    """A place where a fault can be armed."""

    name: str
    where: str
    """File and line inside the package."""

    @property
    def in_store(self) -> bool:
        """Whether it lies inside a call of the store, where `error` is something that happens."""
        return self.where.startswith("store/")

    @property
    def in_transit(self) -> bool:
        """Whether only a relay or a move comes there."""
        return self.where.startswith("transit/")

    @property
    def store(self) -> str | None:
        """Which store it lies in; the same step has the same name in each of them."""
        return self.where.split("/")[1] if self.in_store else None


class Spec(Struct, frozen=True):
    """A fault: what happens when a point is reached for the nth time, counted from 1."""

    point: str
    action: Action
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read `point:action` or `point:action@nth`.

        Raises:
            ValueError: it is of another form, or names a point or action that there is not.
        """
        point, _, rest = text.partition(":")
        action, _, nth = rest.partition("@")
        names = {one.name for one in points()}
        if point not in names:
            raise ValueError(f"there is no fault point {point!r}; there are {sorted(names)}")
        if action not in get_args(Action) or (nth and not (nth.isdecimal() and int(nth) > 0)):
            raise ValueError(
                f"{text!r} is no fault; write for example {point}:kill, {point}:stop@2 or "
                f"{point}:error@3"
            )
        known: Action = "kill" if action == "kill" else "stop" if action == "stop" else "error"
        return cls(point, known, int(nth or 1))

    def __str__(self) -> str:
        return f"{self.point}:{self.action}@{self.nth}"


def points(package: Path = _PACKAGE) -> list[Point]:
    """List the fault points by reading the package's sources; a new one needs no entry here.

    Raises:
        ValueError: two places of one store, or outside the stores, have one name, or a name is
            not a plain string.
    """
    found: dict[str, Point] = {}
    files = (file for file in package.rglob("*.py") if not file.is_relative_to(_OURSELVES))
    for point in (point for file in sorted(files) for point in _points_in(file, package)):
        known = found.setdefault(point.name, point)
        if known is not point and (known.store is None or point.store in {None, known.store}):
            raise ValueError(f"{point.where} and {known.where} are both named {point.name!r}")
    return sorted(found.values())


def names_in(store: str, *, inside: bool = False) -> set[str]:
    """Name the points that a worker or producer on this store can come to.

    Args:
        store: the store's folder: `sqlite`, `postgres` or `redis`.
        inside: only those inside the store's own calls.
    """
    own = {point.name for point in points(_PACKAGE / "store" / store)}
    line = (point for point in points() if not point.in_store and not point.in_transit)
    return own if inside else own | {point.name for point in line}


def arm_from_spec(text: str) -> Counter[str]:
    """Arm a fault for this process; return the counter of all points, which goes on counting.

    `text` is what `Spec.parse` reads, or `count:FILE`. `treadle.core.fault.arm(None)` disarms.

    Raises:
        ValueError: the text is no fault.
    """
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    kind, _, file = text.partition(":")
    spec = None if kind == "count" else Spec.parse(text)

    def hook(name: str) -> None:
        # The lease beats on a thread of its own, so points are reached from several.
        with lock:
            counts[name] += 1
            reached = counts[name]
        if spec is not None and (name, reached) == (spec.point, spec.nth):
            _strike(spec)

    if spec is None:
        atexit.register(_write_counts, counts, Path(file))
    fault.arm(hook)
    return counts


def read_counts(file: Path) -> dict[str, int]:
    """Read what `count:FILE` wrote."""
    return json.decode(file.read_bytes(), type=dict[str, int])


def reached(said: str, spec: Spec) -> bool:
    """Tell from what a process wrote to its standard error whether the fault has struck."""
    return _notice(spec) in said


def main(arguments: list[str]) -> None:
    """Arm the fault and run the rest of the command line in this process.

    Raises:
        SystemExit: the command line is of another form; says which.
    """
    if len(arguments) < 3 or arguments[1] != "--":  # noqa: PLR2004 -- fault, --, command
        raise SystemExit(
            "usage: python -m treadle.testing.faults POINT:ACTION[@NTH] -- worker ...\n"
            "   or: python -m treadle.testing.faults count:FILE -- program.py ...\n"
            f"points: {', '.join(point.name for point in points())}"
        )
    try:
        arm_from_spec(arguments[0])
    except ValueError as error:
        raise SystemExit(str(error)) from error
    program = arguments[2]
    if program.endswith(".py"):
        sys.argv = arguments[2:]
        runpy.run_path(program, run_name="__main__")
    else:
        sys.argv = ["treadle", *arguments[2:]]
        runpy.run_module("treadle", run_name="__main__")


def _strike(spec: Spec) -> None:
    # Written past Python's buffers: after SIGKILL nothing is flushed any more.
    os.write(2, _notice(spec).encode())
    act: dict[Action, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "error": _refuse,
    }
    act[spec.action]()


def _refuse() -> None:
    raise StoreUnavailable("a fault on purpose: the answer of the store does not arrive")


def _notice(spec: Spec) -> str:
    return f"fault on purpose: {spec}\n"


def _write_counts(counts: Counter[str], file: Path) -> None:
    file.write_bytes(json.encode(dict(counts)))


def _points_in(file: Path, package: Path) -> Iterator[Point]:
    source = file.read_bytes()
    # Most files hold none, and parsing is what takes time.
    tree = ast.parse(source if b"fault.point(" in source else b"", filename=str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_point(node.func):
            place = f"{file.relative_to(package).as_posix()}:{node.lineno}"
            yield Point(_name_in(node, place), place)


def _is_point(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr == "point"
        and isinstance(called.value, ast.Name)
        and called.value.id == "fault"
    )


def _name_in(call: ast.Call, place: str) -> str:
    name = call.args[0] if call.args else None
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return name.value
    raise ValueError(f"{place}: a fault point is named by a plain string, to be found by it")


if __name__ == "__main__":
    main(sys.argv[1:])
