"""How do the arguments of a call become the name of a key, and its hash?

A call is bound to the task's parameters with their defaults, so that `f(1)` and `f(1, b=2)` are
one call when 2 is the default. Values are taken as JSON carries them, and written with sorted keys:
the order of a dict, or of keywords, never makes two keys of one.
"""

from __future__ import annotations

import hashlib
import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import json

from treadle.core.keys.key import KEY_MAX
from treadle.core.payload.jsonable import PAYLOAD_BYTES_MAX, pack
from treadle.core.payload.signature import CallerSignature

KeyOf = str | Sequence[str] | Callable[..., str] | None
"""A template over the arguments, names of arguments, a function of the call, or all arguments."""

_SHOWN: Final = 60
_sorted = json.Encoder(order="sorted").encode


def check_key_of(value: KeyOf) -> KeyOf:
    """Return what `key=` was given when it can be a key of some task.

    Raises:
        TypeError, ValueError: it is of another type, is empty, or is no template.
    """
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        if not value:
            raise ValueError('key must not be empty; leave it out for "all arguments"')
        fields_of(value)
        return value
    # Whoever has no type checker may have given anything.
    given: object = value
    if isinstance(given, Sequence) and all(isinstance(name, str) for name in given):
        if not given:
            raise ValueError("key=() names no argument; leave it out for all of them")
        return tuple(given)
    raise TypeError(
        "key takes a template such as '{account_id}', a list of argument names or a function of "
        f"the call's arguments, not {type(given).__name__}"
    )


def fields_of(template: str) -> list[str]:
    """Name the arguments that a template reads.

    Raises:
        ValueError: it is no template, or has a field that names no argument.
    """
    try:
        parts = list(string.Formatter().parse(template))
        found = [field for _, field, _, _ in parts if field is not None]
        nested = [spec for _, _, spec, _ in parts if spec and "{" in spec]
    except ValueError as error:
        raise ValueError(f"key={template!r} is no template: {error}") from error
    names = [field.partition(".")[0].partition("[")[0] for field in found]
    if nested or not all(name.isidentifier() for name in names):
        raise ValueError(
            f"key={template!r} has a field that names no argument; write '{{name}}' for each, and "
            "'{{' for a brace"
        )
    return names


def check_names(value: KeyOf, signature: CallerSignature) -> None:
    """Make sure that a key reads only arguments that the task has.

    Raises:
        ValueError: it names one that there is not; says which there are.
    """
    if value is None or callable(value) or signature.extras is not None:
        return
    known = [parameter.name for parameter in signature.parameters]
    for name in fields_of(value) if isinstance(value, str) else value:
        if name not in known:
            raise ValueError(
                f"key={value!r} names the argument {name!r}, which {signature.task} does not have; "
                f"it is called as {signature.text}"
            )


def name_of(
    value: KeyOf, signature: CallerSignature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Give the key of one call, the part that its user has chosen.

    Raises:
        TypeError, ValueError: the key's own function raised them or gave no str, an argument that
            it reads was not given, or the key is empty or over KEY_MAX characters.
    """
    if callable(value):
        key = value(*args, **kwargs)
        if not isinstance(key, str):
            raise TypeError(
                f"the key function of {signature.task} gave a {type(key).__name__}, and a key is "
                "a str; for several values join them, for example f'{a}:{b}'"
            )
    elif isinstance(value, str):
        key = _filled(value, signature, bound(signature, args, kwargs))
    else:
        values = bound(signature, args, kwargs)
        if value is not None:
            values = {name: _given(values, name, signature) for name in value}
        key = hashlib.sha256(canonical(values)).hexdigest()
    if not 0 < len(key) <= KEY_MAX:
        raise ValueError(
            f"the key of a call of {signature.task} has {len(key):,} characters "
            f"({key[:_SHOWN]!r}...), and a key has 1 to {KEY_MAX}; key=['name', ...] makes a short "
            "one of arguments of any length"
        )
    return key


def bound(
    signature: CallerSignature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Give a call's arguments by name, with the defaults of those left out."""
    call = inspect.Signature(signature.parameters).bind(*args, **kwargs)
    call.apply_defaults()
    values = dict(call.arguments)
    if signature.extras is not None:
        values |= values.pop(signature.extras)
    return values


def canonical(values: Mapping[str, Any]) -> bytes:
    """Write arguments as JSON in one way alone: sorted keys, no spaces.

    Raises:
        NotSerializable: JSON cannot carry a value.
    """
    packed = pack(dict(values), dict.items, "the arguments of a key", PAYLOAD_BYTES_MAX)
    return _sorted(json.decode(packed))


def hash_of(signature: CallerSignature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Give the SHA-256 of a task and the arguments of a call, in their canonical form."""
    said = canonical(bound(signature, args, kwargs))
    return hashlib.sha256(signature.task.encode() + b"\0" + said).digest()


def _filled(template: str, signature: CallerSignature, values: dict[str, Any]) -> str:
    for name in fields_of(template):
        _given(values, name, signature)
    try:
        return template.format_map(values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"key={template!r} cannot be filled in by this call of {signature.task}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _given(values: Mapping[str, Any], name: str, signature: CallerSignature) -> object:
    if name not in values:
        raise ValueError(
            f"the key of {signature.task} reads the argument {name!r}, which this call does not "
            "give by that name"
        )
    return values[name]
