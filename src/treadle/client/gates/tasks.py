"""What can be done to whole tasks, whether or not they have limits: pause and resume.

Each method has an async twin with the prefix a. A paused task is a gate that is shut, `task:` and
the task's name, so `app.gates` shows who waits there, and `treadle gates` works on it. A key of a
task is known to its jobs alone, by the limit that it is the key of: its gate is what is paused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.client.gates.control import check_note
from treadle.client.gates.limit import key_text
from treadle.core.durations import Duration, to_us
from treadle.core.errors import UnknownTask
from treadle.core.gates.gate import SWITCH, TASK
from treadle.definition import check_name

if TYPE_CHECKING:
    from treadle.client.link import Links
    from treadle.client.registry import Registry
    from treadle.core.gates.limits import Limit
    from treadle.definition import Definition


class Tasks:
    """The tasks of one application, as far as its store holds them back."""

    def __init__(self, links: Links, registry: Registry) -> None:
        self._links = links
        self._registry = registry

    def pause(
        self,
        name: str,
        *,
        key: str | int | None = None,
        note: str = "",
        lasting: Duration | None = None,
    ) -> bool:
        """Start no job of a task, or of one key of it; what runs goes on.

        It holds for the whole store, from the next claim on, for so long or until it is resumed;
        what a worker has claimed by then still runs. Jobs of this name wait, and those that were
        enqueued under a former name of the task are of that name. What is paused for longer
        stays so.

        Args:
            name: the task; without a key any name can be paused, a slip in it as well.
            key: hold only jobs for which the key of the task's limit gives this text; it is
                their gate of that limit that is paused. Jobs carry it from their enqueue on, so
                those that were enqueued before the task had such a limit are not held.
            note: why, for whoever looks, at most 500 characters.
            lasting: resume by itself after so long.

        Returns whether the task's code is here.

        Raises:
            UnknownTask: a key is given, and no task of this name is here to say what it means.
            TypeError, ValueError: the name, the key, the note or the duration (s) is not a legal
                one, or the task has no limit with a key of its own, or several.
        """
        return self._links.get().run(self.apause(name, key=key, note=note, lasting=lasting))

    async def apause(
        self,
        name: str,
        *,
        key: str | int | None = None,
        note: str = "",
        lasting: Duration | None = None,
    ) -> bool:
        """Do the same as `pause` without blocking the event loop."""
        gate = self._gate(name, key)
        check_note(note)
        delay = None if lasting is None else to_us(lasting, "lasting")
        store = (await self._links.aget()).store
        await store.shut_gate(gate, delay=delay, note=note or None)
        return self._registry.definition(name) is not None

    def resume(self, name: str, *, key: str | int | None = None) -> bool:
        """Let workers start jobs of a task, or of one key of it, again; True where it was paused.

        Raises:
            UnknownTask, TypeError, ValueError: as for `pause`.
        """
        return self._links.get().run(self.aresume(name, key=key))

    async def aresume(self, name: str, *, key: str | int | None = None) -> bool:
        """Do the same as `resume` without blocking the event loop."""
        return await (await self._links.aget()).store.open_gate(self._gate(name, key))

    def _gate(self, name: str, key: str | int | None) -> str:
        """Name what is paused: the gate of the task, or that of one of its keys."""
        text = key_text(key)
        if text is None:
            return TASK + check_name(name)
        definition = self._registry.definition(check_name(name))
        if definition is None:
            raise UnknownTask(name)
        limit = _keyed(definition)
        return limit.use_named(limit.own_name(definition.name), text, 1).name


def _keyed(definition: Definition) -> Limit:
    """Give the limit of a task by whose gates its keys are paused.

    Raises:
        ValueError: it has none of its own, or several with different keys.
    """
    keyed = [limit for limit in definition.limits if limit.key is not None]
    own = [limit for limit in keyed if limit.name is None]
    if not keyed:
        raise ValueError(
            f"{definition.name} has no limit with a key, so its jobs carry none that could be "
            "paused; give it one, which need not bound anything: "
            "limits=Switch(key='{...}') with the name of an argument"
        )
    if not own:
        named = ", ".join(f"'{limit.name}:KEY'" for limit in keyed)
        raise ValueError(
            f"the limits of {definition.name} with a key have names, by which other tasks may "
            f"share them; pause such a gate itself, {named}, with app.gates.pause or `treadle "
            "gates pause`, or give the task a Switch(key=...) of its own"
        )
    if len({limit.key for limit in own}) > 1:
        gates = ", ".join(f"'{limit.own_name(definition.name)}:KEY'" for limit in own)
        raise ValueError(
            f"{definition.name} has limits with different keys; pause the gate of the one that is "
            f"meant, {gates}, with app.gates.pause or `treadle gates pause`"
        )
    return min(own, key=lambda limit: (limit.kind != SWITCH, limit.own_name(definition.name)))
