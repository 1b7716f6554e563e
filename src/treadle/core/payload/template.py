"""Which arguments does a template such as `"{account_id}"` read?

So limits have a gate, and tasks a tenant, for each value. A field is the name of an argument and
nothing else: what is wrong with a template is said where it is written, not when a job meets it.
The templates of keys read more, and stand in `core.keys.naming`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from treadle.core.payload.signature import CallerSignature


def fields_of(template: str, what: str) -> tuple[str, ...]:
    """List the arguments that a template names, each once; `what` calls it in errors.

    Raises:
        ValueError: it is no template, or has a field that is not just the name of an argument.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{what} is no template: {error}") from None
    found = [name for _, name, _, _ in parts if name is not None]
    bare = all(not form and not turn for _, _, form, turn in parts)
    if not bare or not all(name.isidentifier() for name in found):
        raise ValueError(
            f"{what} may hold names of arguments in braces and nothing else in them, as in "
            "'{account_id}'"
        )
    return tuple(dict.fromkeys(found))


def check_fields(fields: Sequence[str], what: str, task: str, signature: CallerSignature) -> None:
    """Make sure that a template names only arguments that each call of a task has.

    Raises:
        ValueError: it names another one, or `*rest` or `**extras`, which are no single value.
    """
    known = [p.name for p in signature.parameters]
    known = [name for name in known if name not in (signature.rest, signature.extras)]
    for field in fields:
        if field not in known:
            raise ValueError(
                f"{what} names {field!r}, which is no argument of {task}; it has "
                f"{', '.join(known) or 'none'}"
            )


def arguments_of(
    signature: CallerSignature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Name the arguments of a call, defaults included."""
    defaults = {p.name: p.default for p in signature.parameters if p.default is not p.empty}
    return defaults | dict(zip(signature.positional, args, strict=False)) | dict(kwargs)
