"""Statements: what a store says on a connection that is not its own, and who runs them.

A store writes a script: a generator that yields statements and is sent the rows each of them
answers. An adapter runs them on one kind of connection, in that driver's own way. So what is
said is written once, and a new driver needs no word of SQL. Scripts do no input or output.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from msgspec import Struct

T = TypeVar("T")

Rows = Sequence[Sequence[Any]]


class Statement(Struct, frozen=True, eq=False):
    """A statement, its parameters written `$1`, `$2`, … and nothing else after a `$`."""

    text: str
    values: Rows = ((),)
    """The parameters of each execution; several executions answer no rows."""


Script = Generator[Statement, Rows, T]

BEGIN: Final = Statement("begin")
"""Stands for the begin of a transaction where none is open, which each driver does its own way."""
COMMIT: Final = Statement("commit")
"""Stands for the end of the transaction."""
ROLLBACK: Final = Statement("rollback")
"""As COMMIT, without the writes."""

_PLACE: Final = re.compile(r"\$(\d+)")


class Lent:
    """Marks a connection that a store lends to a task: coroutines may use it, too."""


class Adapter(ABC):
    """Runs statements on one connection whose driver answers at once."""

    connection: Any
    """What the caller writes through."""
    anywhere: bool = False
    """Whether a coroutine may use it, because it never waits."""
    refuses_ends: bool = False
    """Whether its connection refuses whatever would end the transaction, however it is said."""

    @property
    @abstractmethod
    def engine(self) -> str:
        """The engine behind the connection, as SQLAlchemy names its dialects."""

    @abstractmethod
    def run(self, statement: Statement) -> Rows:
        """Run a statement inside the connection's transaction; give the rows it answers."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction, unless one is open or the driver begins by itself."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the transaction."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll the transaction back."""

    def abort(self, why: str) -> bool:  # noqa: ARG002 -- for those that can
        """Roll back from any thread without waiting; tell whether to call again a little later.

        Most drivers leave the end to the thread that uses the connection; then this is nothing.
        """
        return False


class AsyncAdapter(ABC):
    """Runs statements on one connection whose driver is awaited; see `Adapter`."""

    connection: Any
    refuses_ends: bool = False

    @property
    @abstractmethod
    def engine(self) -> str:
        """The engine behind the connection, as SQLAlchemy names its dialects."""

    @abstractmethod
    async def run(self, statement: Statement) -> Rows:
        """Run a statement inside the connection's transaction; give the rows it answers."""

    @abstractmethod
    async def begin(self) -> None:
        """Begin a transaction, unless one is open or the driver begins by itself."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit the transaction."""

    @abstractmethod
    async def rollback(self) -> None:
        """Roll the transaction back."""

    def abort(self, why: str) -> bool:  # noqa: ARG002 -- as above
        """Roll back from any thread without waiting; tell whether to call again."""
        return False


def carry(script: Script[T], adapter: Adapter) -> T:
    """Run a script to its end; what a statement raises, the script may answer."""
    calls = {BEGIN: adapter.begin, COMMIT: adapter.commit, ROLLBACK: adapter.rollback}
    step = _first(script)
    while isinstance(step, Statement):
        rows: Rows = ()
        try:
            if (call := calls.get(step)) is not None:
                call()
            else:
                rows = adapter.run(step)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- handed to the script, which raises it on
            step = _next(script, error)
        else:
            step = _next(script, rows)
    value: T = step.value
    return value


async def acarry(script: Script[T], adapter: AsyncAdapter) -> T:
    """Do the same with a driver that is awaited."""
    calls = {BEGIN: adapter.begin, COMMIT: adapter.commit, ROLLBACK: adapter.rollback}
    step = _first(script)
    while isinstance(step, Statement):
        rows: Rows = ()
        try:
            if (call := calls.get(step)) is not None:
                await call()
            else:
                rows = await adapter.run(step)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- as in `carry`
            step = _next(script, error)
        else:
            step = _next(script, rows)
    value: T = step.value
    return value


class _Done(Struct):
    """What a script came to."""

    value: Any


def _first(script: Script[Any]) -> Statement | _Done:
    try:
        return next(script)
    except StopIteration as done:
        return _Done(done.value)


def _next(script: Script[Any], answer: Rows | BaseException) -> Statement | _Done:
    try:
        if isinstance(answer, BaseException):
            return script.throw(answer)
        return script.send(answer)
    except StopIteration as done:
        return _Done(done.value)


@lru_cache(maxsize=512)
def placed(text: str, mark: str) -> tuple[str, tuple[int, ...]]:
    """Write a statement with the same mark at every place, and tell which parameter goes where.

    `?` and `%s` are the marks that drivers read in the order of the places. A literal `%` is
    doubled for the latter.
    """
    order = tuple(int(number) - 1 for number in _PLACE.findall(text))
    if mark == "%s":
        text = text.replace("%", "%%")
    return _PLACE.sub(mark, text), order


def arranged(values: Sequence[Any], order: Sequence[int]) -> tuple[Any, ...]:
    """Put the parameters of one execution in the order of their places."""
    return tuple(values[place] for place in order)
