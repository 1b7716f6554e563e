"""Steps: what a transaction says about keys, by the names of its statements.

The same steps run on a connection of the store's own, or as a script on one of the caller's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

Statements = dict[str, str]
Row = Sequence[Any]
Step = tuple[str, Row]
"""A statement by its name, with its values."""
Steps = Generator[Step, Sequence[Row], T]


def carry(db: sqlite3.Connection, sql: Statements, steps: Steps[T]) -> T:
    """Run steps on a connection of the store's own, inside its transaction."""
    try:
        name, values = next(steps)
        while True:
            name, values = steps.send(db.execute(sql[name], values).fetchall())
    except StopIteration as done:
        value: T = done.value
        return value
