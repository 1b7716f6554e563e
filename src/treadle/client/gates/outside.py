"""What code outside jobs is given of limits: `app.limit`, and how it finds what a name means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from treadle.client.gates.limit import NamedLimit
from treadle.client.snapshot import Home
from treadle.core.durations import Duration
from treadle.core.errors import UnknownLimit
from treadle.core.gates.limits import Concurrency, Limit, RateLimit

if TYPE_CHECKING:
    from treadle.definition import Definition

_NAMED_MAX: Final = 10


class Outside(Home):
    """The limits of an application, for code that is no job."""

    @abstractmethod
    def tasks_here(self) -> Mapping[str, Definition]:
        """Give the tasks that are registered in this process, by name."""
        ...

    def limit(
        self,
        name: str,
        definition: Limit | None = None,
        *,
        key: str | int | None = None,
        lease: Duration = 15,
    ) -> NamedLimit:
        """Give a limit of jobs to code that is none: `with app.limit("stripe").acquire():`.

        Args:
            name: the limit's name, as on the tasks that have it.
            definition: what it is, where no task that is registered here declares it.
            key: which one, of a limit with a key: the text that its template gives.
            lease: after how long a place is free whose holder has died; at least 1 s.

        Raises:
            TypeError, ValueError: an argument is not a legal one. Passing it raises
                `UnknownLimit` where nothing says what it is, and `LimitTimeout`.
        """
        if definition is None:
            return NamedLimit(self, lambda own: declared(self.tasks_here(), own), name, key, lease)
        found = given(name, definition)
        return NamedLimit(self, lambda _: found, name, key, lease)


def declared(tasks: Mapping[str, Definition], name: str) -> Limit:
    """Find the limit of this name among those of the tasks that are registered here.

    Raises:
        UnknownLimit: there is none.
    """
    known: dict[str, None] = {}
    for task in tasks.values():
        for limit in task.limits:
            own = limit.own_name(task.name)
            if own == name:
                return limit
            known[own] = None
    raise UnknownLimit(name, _some(known))


def given(name: str, limit: Limit) -> Limit:
    """Check a limit that is defined where it is used.

    Raises:
        TypeError, ValueError: it is none, or has another name.
    """
    if not isinstance(limit, Concurrency | RateLimit):
        raise TypeError(f"a limit is Concurrency(...) or RateLimit(...), not {limit!r:.80}")
    if limit.name is not None and limit.name != name:
        raise ValueError(f"{limit!r} is not named {name!r}; leave its name= out")
    return limit


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    return ", ".join(map(repr, found[:_NAMED_MAX])) + more
