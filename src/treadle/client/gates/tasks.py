"""What can be done to whole tasks, whether or not they have limits: pause and resume.

Each method has an async twin with the prefix a. A paused task is a gate that is shut, `task:` and
the task's name, so `app.gates` shows who waits there, and `treadle gates` works on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.client.gates.control import check_note
from treadle.core.durations import Duration, to_us
from treadle.core.gates.gate import TASK
from treadle.definition import check_name

if TYPE_CHECKING:
    from treadle.client.link import Links
    from treadle.client.registry import Registry


class Tasks:
    """The tasks of one application, as far as its store holds them back."""

    def __init__(self, links: Links, registry: Registry) -> None:
        self._links = links
        self._registry = registry

    def pause(self, name: str, *, note: str = "", lasting: Duration | None = None) -> bool:
        """Start no job of a task, for so long or until it is resumed; what runs goes on.

        It holds for the whole store, from the next claim on; what a worker has claimed by then
        still runs. Jobs of this name wait, and those that were enqueued under a former name of
        the task are of that name. A task that is paused for longer stays so.

        Returns whether the task's code is here: any name can be paused, a slip in it as well.

        Raises:
            TypeError, ValueError: the name, the note or the duration (s) is not a legal one.
        """
        return self._links.get().run(self.apause(name, note=note, lasting=lasting))

    async def apause(self, name: str, *, note: str = "", lasting: Duration | None = None) -> bool:
        """Do the same as `pause` without blocking the event loop."""
        gate = TASK + check_name(name)
        check_note(note)
        delay = None if lasting is None else to_us(lasting, "lasting")
        store = (await self._links.aget()).store
        await store.shut_gate(gate, delay=delay, note=note or None)
        return self._registry.definition(name) is not None

    def resume(self, name: str) -> bool:
        """Let workers start jobs of a task again; True where it was paused.

        Raises:
            TypeError, ValueError: the name is not a legal one.
        """
        return self._links.get().run(self.aresume(name))

    async def aresume(self, name: str) -> bool:
        """Do the same as `resume` without blocking the event loop."""
        return await (await self._links.aget()).store.open_gate(TASK + check_name(name))
