"""Does a call fit the signature of a task?

A `CallerSignature` is read once from the function, when the task is defined, and then answers
for every call by set comparisons, without `inspect.Signature.bind` (which costs ten times the
rest of an enqueue). Parameters the worker fills in, such as the injected context, are left out
of it. It knows nothing of types or of JSON: see `payload.annotations` and `core.codec` for those.
"""

import inspect
from collections.abc import Callable, KeysView
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from treadle.core.errors import BadTaskSignature

_TEXT_MAX = 300

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Named(NamedTuple):
    """The keywords that must, and that may, come with a number of positional arguments."""

    required: frozenset[str]
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class CallerSignature:
    """The parameters a caller may give, and which calls fit them.

    `named_after[n]` holds the keywords that go with n positional arguments, which makes the
    check of a correct call two set comparisons. `named_from` is the number of positional
    arguments the function can take by place; the later ones stand after a skipped parameter
    and must be passed by keyword. `at_least` positional arguments are needed with any keywords,
    `alone_at_least` without them (infinitely many when a keyword is required).
    """

    task: str
    parameters: tuple[inspect.Parameter, ...]
    skipped: frozenset[str]
    positional: tuple[str, ...]
    at_least: int
    alone_at_least: int | float
    at_most: int | float
    rest: str | None
    extras: str | None
    named_from: int
    named_after: tuple[Named, ...]

    @classmethod
    def of(cls, fn: Callable[..., Any], task: str, skip: frozenset[str]) -> Self:
        """Read the signature of `fn` as its callers see it, without the parameters in `skip`.

        Raises:
            BadTaskSignature: Python cannot tell the signature, or a parameter in `skip` stands
                where it could not be passed by keyword.
        """
        try:
            every = tuple(inspect.signature(fn).parameters.values())
        except (TypeError, ValueError, NameError) as error:
            raise BadTaskSignature(
                task, f"its signature cannot be read ({error}); write the task as a `def` function"
            ) from error
        named_from = _named_from(task, every, skip)
        kept = tuple(p for p in every if p.name not in skip)
        positional = tuple(p.name for p in kept if p.kind in _POSITIONAL)
        rest = _only_name(kept, inspect.Parameter.VAR_POSITIONAL)
        counts = range(len(positional) + 1)
        return cls(
            task=task,
            parameters=kept,
            skipped=skip,
            positional=positional,
            at_least=sum(1 for p in kept if p.kind is _POSITIONAL[0] and _is_required(p)),
            alone_at_least=_alone_at_least(kept),
            at_most=len(positional) if rest is None else float("inf"),
            rest=rest,
            extras=_only_name(kept, inspect.Parameter.VAR_KEYWORD),
            named_from=named_from,
            named_after=tuple(_named_after(kept, positional[:count]) for count in counts),
        )

    @property
    def text(self) -> str:
        """Write the signature the way a caller reads it, for messages."""
        shown = str(inspect.Signature(self.parameters))
        if len(shown) > _TEXT_MAX:
            shown = shown[:_TEXT_MAX] + "..."
        return f"{self.task}{shown}"

    def misfit(self, count: int, names: KeysView[str]) -> str | None:
        """Say why `count` positional arguments with the keywords `names` do not fit, else None."""
        named = self.named_after[min(count, len(self.positional))]
        if self.at_least <= count <= self.at_most and named.required <= names <= named.allowed:
            return None
        reason = self._surplus(count, names) or self._missing(count, names)
        return f"{reason}; the task is called as {self.text}" if reason else None

    def _surplus(self, count: int, names: KeysView[str]) -> str | None:
        """Name the first argument that has no place, or has two."""
        if count > self.at_most:
            return f"it takes {self._takes()} but {count} were given"
        reasons = (self._refusal(name, count) for name in names)
        return next((reason for reason in reasons if reason), None)

    def _refusal(self, name: str, count: int) -> str | None:
        """Say why the keyword `name` cannot come after `count` positional arguments."""
        if name in self.skipped:
            return f"argument {name!r} is filled in by the worker and cannot be passed"
        if name in self.named_after[0].allowed:
            doubled = name in self.positional[:count]
            return f"it got multiple values for argument {name!r}" if doubled else None
        if self.extras is not None:
            return None
        if name in self.positional:
            return f"positional-only argument {name!r} was passed as a keyword argument"
        return f"it got an unexpected keyword argument {name!r}"

    def _missing(self, count: int, names: KeysView[str]) -> str | None:
        """Name the required arguments that were not given, in the order of the signature."""
        placed = self.positional[:count]
        missing = [
            p.name
            for p in self.parameters
            if _is_required(p)
            and p.name not in placed
            and (p.kind is inspect.Parameter.POSITIONAL_ONLY or p.name not in names)
        ]
        if not missing:
            return None
        noun = "argument" if len(missing) == 1 else "arguments"
        return f"it is missing {len(missing)} required {noun}: {', '.join(map(repr, missing))}"

    def _takes(self) -> str:
        """Word how many positional arguments the task takes."""
        most = len(self.positional)
        least = sum(1 for p in self.parameters if p.kind in _POSITIONAL and _is_required(p))
        noun = "positional argument" if most == 1 else "positional arguments"
        return f"{most} {noun}" if least == most else f"from {least} to {most} {noun}"


def _is_required(parameter: inspect.Parameter) -> bool:
    """Tell whether a call must give this parameter."""
    named = parameter.kind in _POSITIONAL or parameter.kind in _BY_KEYWORD
    return named and parameter.default is inspect.Parameter.empty


def _alone_at_least(parameters: tuple[inspect.Parameter, ...]) -> int | float:
    """Count the positional arguments that a call without keywords needs."""
    required = [p for p in parameters if _is_required(p)]
    if any(p.kind is inspect.Parameter.KEYWORD_ONLY for p in required):
        return float("inf")
    return len(required)


def _only_name(parameters: tuple[inspect.Parameter, ...], kind: object) -> str | None:
    """Find the name of the one parameter of a variadic kind."""
    return next((p.name for p in parameters if p.kind is kind), None)


def _named_after(parameters: tuple[inspect.Parameter, ...], placed: tuple[str, ...]) -> Named:
    """List what keywords may and must name once the parameters in `placed` have their values."""
    open_ones = [p for p in parameters if p.kind in _BY_KEYWORD and p.name not in placed]
    allowed = frozenset(p.name for p in open_ones)
    return Named(frozenset(p.name for p in open_ones if _is_required(p)), allowed)


def _named_from(task: str, every: tuple[inspect.Parameter, ...], skip: frozenset[str]) -> int:
    """Tell how many of the caller's positional arguments come before the first skipped one.

    The worker passes a skipped parameter by keyword, so the arguments after it must go by
    keyword too, and that has to be possible.
    """
    before = 0
    for place, parameter in enumerate(every):
        if parameter.name in skip and parameter.kind not in _BY_KEYWORD:
            raise _misplaced(task, parameter.name, "is positional-only")
        if parameter.name in skip and parameter.kind in _POSITIONAL:
            if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in every[place:]):
                raise _misplaced(task, parameter.name, "stands before *args")
            return before
        before += parameter.kind in _POSITIONAL
    return before


def _misplaced(task: str, name: str, fault: str) -> BadTaskSignature:
    """Say that an injected parameter cannot be passed by keyword."""
    return BadTaskSignature(
        task,
        f"parameter {name!r} is filled in by the worker by keyword, but it {fault}; "
        f"make it keyword-only (after * or *args)",
    )
