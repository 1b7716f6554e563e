"""What live workers declare: one note a worker, so that nobody removes what another one needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json

from treadle.client.link import Steps
from treadle.store.parts.scheduled import MOVES_MAX, Move, ScheduleRow

if TYPE_CHECKING:
    from treadle.store.contract import Store, WorkerRecord

_PREFIX: Final = " worker "
"""Begins the names of the notes, behind those of the records of what was declared."""


class Note(Struct, frozen=True):
    """What one worker's code declares."""

    module: str
    names: tuple[str, ...]


_decode: Final = json.Decoder(Note)


def note(store: Store, worker: str, module: str, names: Collection[str]) -> Steps[None]:
    """Write down what a registered worker declares, and drop the notes of dead workers."""
    key = f"{_PREFIX}{worker}"
    rows: Sequence[ScheduleRow] = yield store.schedules_page(_PREFIX, MOVES_MAX - 1)
    notes = [row for row in rows if row.name.startswith(_PREFIX)]
    live = yield from _live(store)
    moves = [
        Move(row.name, row.revision, None)
        for row in notes
        if row.name != key and row.name.removeprefix(_PREFIX) not in live
    ]
    [mine] = yield store.schedules([key])
    if mine is None:
        moves.append(Move(key, 0, json.encode(Note(module, tuple(sorted(names))))))
    if moves:
        yield store.fire(moves)


def declared_by_live(store: Store, module: str) -> Steps[set[str] | None]:
    """Give what live workers of this module declare; None: there are too many to know."""
    rows: Sequence[ScheduleRow] = yield store.schedules_page(_PREFIX, MOVES_MAX)
    if len(rows) >= MOVES_MAX and rows[-1].name.startswith(_PREFIX):
        return None
    live = yield from _live(store)
    names: set[str] = set()
    for row in rows:
        if row.name.startswith(_PREFIX) and row.name.removeprefix(_PREFIX) in live:
            said = _decode.decode(row.body)
            if said.module == module:
                names.update(said.names)
    return names


def _live(store: Store) -> Steps[set[str]]:
    """Give the ids of the workers that have not been rescued."""
    workers: Sequence[WorkerRecord] = yield store.workers()
    return {worker.info.id for worker in workers}
