"""Can values of this annotation come back from JSON, and by which decoder?

Answers when a task is defined, so that a parameter no worker could ever decode is an error at
import and not a dead letter at night. Annotations are resolved one by one, so the error can
name the parameter. It decodes nothing itself: `core.codec` holds the decoders made here, and
`payload.jsonable` knows how models of other libraries are rebuilt.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect as shapes

from treadle.core.errors import BadTaskSignature
from treadle.core.payload.jsonable import from_plain, is_model

Hint = Any
"""An annotation: whatever `typing` accepts as one."""

UNANNOTATED: Final = inspect.Signature.empty

_KEYS_ARE_NEVER = (
    shapes.BoolType,
    shapes.CollectionType,
    shapes.CustomType,
    shapes.DataclassType,
    shapes.DictType,
    shapes.NamedTupleType,
    shapes.NoneType,
    shapes.StructType,
    shapes.TupleType,
    shapes.TypedDictType,
)

_UNION_ADVICE = (
    "JSON cannot tell the members of this union apart: make the members tagged structs "
    "(msgspec.Struct, tag=True), keep one of the types, or use one parameter for each"
)
_NAME_ADVICE = "define or import that name at module level, outside `if TYPE_CHECKING:`"
_CLASS_ADVICE = (
    "pass an id and load the object inside the task, or annotate with what JSON can carry "
    "(a dataclass, a msgspec Struct, a Pydantic model, list, dict, str, ...)"
)
_KEYS_WANTED = "the keys of a JSON object are text; use str, int, UUID or Enum keys"


def resolve_hints(
    fn: Callable[..., Any], task: str, skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Evaluate the annotations of `fn`, strings included, except of the parameters in `skip`.

    `return` is among the keys when it is annotated. Names under `if TYPE_CHECKING:` and local
    names behind `from __future__ import annotations` cannot be resolved, and no worker could
    resolve them either.

    Raises:
        BadTaskSignature: one of them cannot be evaluated; names the parameter.
    """
    target = inspect.unwrap(fn)
    scope = getattr(target, "__globals__", {})
    params = getattr(target, "__type_params__", ())
    hints = {}
    for name, annotation in _annotations(target, task).items():
        if name in skip:
            continue
        holder = types.SimpleNamespace(__annotations__={name: annotation}, __type_params__=params)
        try:
            hints.update(typing.get_type_hints(holder, globalns=scope, include_extras=True))
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            raise BadTaskSignature(
                task,
                f"{place_of(name)} is annotated {annotation!r}, which cannot be resolved "
                f"({error}); {_NAME_ADVICE}",
            ) from error
    return hints


def decoder_for(task: str, place: str, hint: Hint) -> msgspec.json.Decoder[Any]:
    """Build the decoder for one annotation; an absent one and `Any` decode to plain JSON values.

    Raises:
        BadTaskSignature: no value of this annotation can be read back from JSON; names `place`,
            the annotation and what to do.
    """
    wanted = Any if hint is UNANNOTATED else hint
    try:
        decoder = msgspec.json.Decoder(wanted, dec_hook=from_plain)
        described = list(_walk(shapes.type_info(wanted)))
    except (TypeError, ValueError, NameError, AttributeError, RecursionError) as error:
        raise _undecodable(task, place, hint, f"{error}; {_advice(error)}") from error
    for shape in described:
        fault = _fault_of(shape)
        if fault:
            raise _undecodable(task, place, hint, fault)
    return decoder


def typed_decoder(
    task: str, parameter: inspect.Parameter, hints: dict[str, Any]
) -> tuple[msgspec.json.Decoder[Any], Hint]:
    """Build the decoder of one parameter, and give the annotation it decodes by.

    Raises:
        BadTaskSignature: as `decoder_for`.
    """
    hint = hints.get(parameter.name, UNANNOTATED)
    decoder = decoder_for(task, place_of(parameter.name), hint)
    if hint is UNANNOTATED:
        return decoder, Any
    if parameter.default is None:
        # `when: datetime = None` is widely written, and its callers do pass None.
        hint = hint | None
        decoder = decoder_for(task, place_of(parameter.name), hint)
    return decoder, hint


def place_of(name: str) -> str:
    """Word where an annotation stands, for messages."""
    return "the return value" if name == "return" else f"parameter {name!r}"


def written(hint: Hint) -> str:
    """Write an annotation the way a person would: `Order`, `list[int]`, `datetime | str`."""
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _annotations(target: Callable[..., Any], task: str) -> dict[str, Any]:
    """Read the raw annotations; Python 3.14 evaluates them here, earlier ones did before."""
    try:
        return dict(getattr(target, "__annotations__", {}))
    except NameError as error:
        raise BadTaskSignature(
            task, f"an annotation cannot be resolved ({error}); {_NAME_ADVICE}"
        ) from error


def _walk(root: shapes.Type) -> Iterator[shapes.Type]:
    """Yield a type's description and everything inside it, each once: types may be recursive."""
    pending: list[object] = [root]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, shapes.Field):
            node = node.type  # Its default may be any object, and is not part of the type.
        if isinstance(node, tuple):
            pending.extend(node)
        elif isinstance(node, shapes.Type) and id(node) not in seen:
            seen.add(id(node))
            yield node
            pending.extend(getattr(node, field) for field in node.__struct_fields__)


def _fault_of(shape: shapes.Type) -> str | None:
    """Say why a type that msgspec accepts still cannot come back from JSON."""
    if isinstance(shape, shapes.RawType):
        return f"msgspec.Raw is written without a check; {_CLASS_ADVICE}"
    if isinstance(shape, shapes.CustomType) and shape.cls is not object and not is_model(shape.cls):
        return f"{written(shape.cls)} cannot be rebuilt from JSON; {_CLASS_ADVICE}"
    if isinstance(shape, shapes.DictType) and isinstance(shape.key_type, _KEYS_ARE_NEVER):
        return f"{_KEYS_WANTED}, or a list of pairs"
    return None


def _advice(error: Exception) -> str:
    """Say what to do about an annotation that msgspec refuses."""
    if isinstance(error, NameError):
        return _NAME_ADVICE
    return _UNION_ADVICE if "unions" in str(error) else _CLASS_ADVICE


def _undecodable(task: str, place: str, hint: Hint, why: str) -> BadTaskSignature:
    """Word the refusal of an annotation."""
    return BadTaskSignature(
        task, f"{place} is annotated {written(hint)}, which cannot be decoded from JSON: {why}"
    )
