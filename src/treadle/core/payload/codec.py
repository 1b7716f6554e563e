"""How do a call and its result become bytes, and how do they come back?

A call is stored as `[1, [positional...], {keyword...}]`: JSON, with 1 as the version marker and
the keywords left out when there are none. JSON is untyped, so the annotations of the task do the
typing when it is decoded; nothing in the bytes can name a class or run code. The package
`core.payload` has a file for each question on the way: signature, annotations, values, layout.
"""

from collections.abc import Callable, Iterable, KeysView
from types import GenericAlias
from typing import Any, Literal, Never, NoReturn, Self

import msgspec

from treadle.core.errors import BadArguments, PayloadError
from treadle.core.payload.annotations import (
    UNANNOTATED,
    Hint,
    decoder_for,
    place_of,
    resolve_hints,
    typed_decoder,
    written,
)
from treadle.core.payload.envelope import FORMAT, shown, split
from treadle.core.payload.jsonable import PAYLOAD_BYTES_MAX, from_plain, pack
from treadle.core.payload.signature import CallerSignature

_RETURNS_NOTHING = (None, type(None), Never, NoReturn)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Decode = Callable[[bytes | msgspec.Raw], Any]


class CallSpec:
    """The arguments of one task: bound and encoded by callers, decoded by workers.

    Built once a task, when it is defined. Encoding does not look at annotations; decoding
    follows them. A parameter without one, or with `Any`, gets what JSON gives back: a set or
    tuple comes back as a list, a dataclass as a dict, a datetime, UUID, Decimal or Enum as its
    text, bytes as base64 text, and every dict key as a str. Aware datetimes come back at the
    same instant with a fixed offset, not with their named zone. A Pydantic model keeps what its
    own `model_dump` writes, so a `SecretStr` keeps only its mask.

    `signature` answers whether a call fits, `returns` is the resolved return annotation.
    """

    __slots__ = (
        "_by_keyword",
        "_exact",
        "_extras",
        "_least",
        "_most",
        "_places",
        "_rest",
        "_spread_from",
        "_whole",
        "returns",
        "signature",
        "task",
    )

    def __init__(self, signature: CallerSignature, hints: dict[str, Any]) -> None:
        self.task = signature.task
        self.signature = signature
        self.returns: Any = hints.get("return", UNANNOTATED)
        typed = {p.name: typed_decoder(self.task, p, hints) for p in signature.parameters}
        decoders = {name: decoder.decode for name, (decoder, _) in typed.items()}
        named = signature.named_after[0].allowed
        # The counts of positional arguments that are right when nothing else is given.
        self._least, self._most = signature.alone_at_least, signature.at_most
        self._places = [(name, decoders[name]) for name in signature.positional]
        self._by_keyword = {name: decode for name, decode in decoders.items() if name in named}
        self._rest = decoders.get(signature.rest or "", msgspec.json.decode)
        self._extras = decoders.get(signature.extras or "", msgspec.json.decode)
        self._exact = _exact_decoder(signature, {name: hint for name, (_, hint) in typed.items()})
        spread = signature.named_from < len(signature.positional)
        self._spread_from = signature.named_from if spread else None
        self._whole = f"the arguments of {self.task}"

    @classmethod
    def of(cls, fn: Callable[..., Any], name: str, *, skip: frozenset[str] = frozenset()) -> Self:
        """Read the signature and annotations of `fn`, the function of the task `name`.

        The parameters in `skip` are filled in by the worker, by keyword; callers cannot pass
        them.

        Raises:
            BadTaskSignature: an annotation cannot be resolved or cannot be decoded from JSON;
                names the parameter, the annotation and what to do.
        """
        return cls(CallerSignature.of(fn, name, skip), resolve_hints(fn, name, skip))

    @classmethod
    def anything(cls, name: str) -> Self:
        """Make a spec for a task whose code is not here: every call fits, values stay plain."""
        return cls.of(_anything, name)

    def encode(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], limit: int = PAYLOAD_BYTES_MAX
    ) -> bytes:
        """Bind a call to the signature and encode it, in at most `limit` bytes.

        Defaults are not stored: the function applies its own when it runs, so a default changed
        by a deploy holds for waiting jobs too.

        Raises:
            BadArguments: the call does not fit the signature.
            NotSerializable: JSON cannot carry a value; names its path, as in `args[0].price`.
            PayloadTooLarge: the encoded call is over `limit`.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._check_fit(len(args), kwargs.keys(), "")
        call = (FORMAT, args, kwargs) if kwargs else (FORMAT, args)
        return pack(call, _parts_of_call, self._whole, limit)

    def decode(self, payload: bytes) -> Arguments:
        """Decode a stored call by the annotations, ready for `fn(*args, **kwargs)`.

        Arguments that stand after a skipped parameter come back as keywords, so that the worker
        can add that one by keyword.

        Raises:
            BadArguments: the stored call does not fit the signature (the code has changed since),
                or a value is not what its annotation says; names the argument.
            PayloadError: the bytes are not a call, or are one of another format version.
        """
        args, kwargs = self._decode_exactly(payload) or self._decode_parts(payload)
        if self._spread_from is None:
            return args, kwargs
        late = dict(zip(self.signature.positional, args, strict=False))
        for name in self.signature.positional[: self._spread_from]:
            late.pop(name, None)
        return args[: self._spread_from], late | kwargs

    def _check_fit(self, count: int, names: KeysView[str], opening: str) -> None:
        """Raise `BadArguments` unless the signature has a place for each argument."""
        reason = self.signature.misfit(count, names)
        if reason:
            raise BadArguments(self.task, f"{opening}{reason}")

    def _decode_exactly(self, payload: bytes) -> Arguments | None:
        """Decode the most common call, all arguments by place, in one step; None if it is not."""
        try:
            # Only a call with keywords ends in `}]`: not trying it saves an exception.
            if self._exact is None or payload[-2:] == b"}]":
                return None
            return self._exact(payload)[1], {}
        except Exception:  # noqa: BLE001 -- the slow way meets the same error and can explain it.
            return None

    def _decode_parts(self, payload: bytes) -> Arguments:
        """Decode any call, one argument at a time."""
        raws, raw_named = split(payload)
        self._check_fit(len(raws), raw_named.keys(), "the stored call does not fit: ")
        places = self._places
        if len(raws) > len(places):
            surplus = range(len(raws) - len(places))
            rest = self.signature.rest
            places = [*places, *((f"{rest}[{index}]", self._rest) for index in surplus)]
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        try:
            for (_, decode), raw in zip(places, raws, strict=False):
                args.append(decode(raw))
            for name, raw in raw_named.items():
                kwargs[name] = self._by_keyword.get(name, self._extras)(raw)
        except Exception as error:
            at_place = len(args) < len(raws)
            label = places[len(args)][0] if at_place else [*raw_named][len(kwargs)]
            raise _misread(self.task, label, error) from error
        return tuple(args), kwargs


class ResultCodec:
    """What one task returns: encoded by workers, decoded for those who wait for the result.

    The value is stored as it is; the return annotation is used only to decode it. So a task that
    returns something else than it is annotated with still succeeds, and whoever asks for the
    result gets an error that names the two. With no annotation, `Any` or `None` the result is
    what JSON gives back (see `CallSpec` for what loses its type that way).
    """

    __slots__ = ("_annotation", "_decode")

    def __init__(self, annotation: Hint, decode: Decode) -> None:
        self._annotation = annotation
        self._decode = decode

    @classmethod
    def of(cls, annotation: Hint = UNANNOTATED, *, task: str = "the task") -> Self:
        """Prepare for a resolved return annotation, as `CallSpec.returns` holds it.

        Raises:
            BadTaskSignature: values of the annotation cannot be decoded from JSON.
        """
        if annotation in _RETURNS_NOTHING:
            annotation = UNANNOTATED
        return cls(annotation, decoder_for(task, place_of("return"), annotation).decode)

    def encode(self, value: object, limit: int = PAYLOAD_BYTES_MAX) -> bytes:
        """Encode what the task returned, in at most `limit` bytes.

        Raises:
            NotSerializable: JSON cannot carry a value; names its path, as in `result.price`.
            PayloadTooLarge: the encoded result is over `limit`.
        """
        if value is None:
            return b"null"
        return pack(value, _parts_of_result, "the contents of the result", limit)

    def decode(self, payload: bytes) -> Any:  # noqa: ANN401 -- the type is known to the task only
        """Decode a stored result by the return annotation.

        Raises:
            PayloadError: the stored result is not what the annotation says, or is not JSON.
        """
        try:
            return self._decode(payload)
        except Exception as error:
            raise PayloadError(
                f"the stored result cannot be read as {written(self._annotation)} ({error}); it is "
                f"{shown(payload)}: let the task return what it is annotated with"
            ) from error


def _anything(*args: object, **kwargs: object) -> object:
    """Stand in for the function of a task whose code is not here; never called."""
    raise NotImplementedError(args, kwargs)


def _parts_of_call(call: tuple[Any, ...]) -> Iterable[tuple[str, object]]:
    """Name the parts of an encoded call, for `pack`."""
    return zip(("args", "kwargs"), call[1:], strict=False)


def _parts_of_result(value: object) -> Iterable[tuple[str, object]]:
    """Name the one part of an encoded result, for `pack`."""
    return (("result", value),)


def _exact_decoder(signature: CallerSignature, hints: dict[str, Any]) -> Decode | None:
    """Build the decoder for the one shape of a call that gives every argument by place.

    There is none for a task with optional or keyword-only parameters, whose calls have several
    shapes: trying the wrong one costs more than decoding argument by argument.
    """
    if any(p.default is not p.empty or p.kind is p.KEYWORD_ONLY for p in signature.parameters):
        return None
    if signature.rest is None:
        args = GenericAlias(tuple, tuple(hints[name] for name in signature.positional))
    elif not signature.positional:
        args = GenericAlias(tuple, (hints[signature.rest], ...))
    else:
        return None
    return msgspec.json.Decoder(GenericAlias(tuple, (Literal[1], args)), dec_hook=from_plain).decode


def _misread(task: str, label: str, error: Exception) -> BadArguments | PayloadError:
    """Word why one stored argument could not be decoded."""
    if isinstance(error, msgspec.ValidationError):
        return BadArguments(task, f"stored argument {label!r} does not fit its annotation: {error}")
    if isinstance(error, (msgspec.DecodeError, UnicodeError, RecursionError)):
        return PayloadError(f"stored argument {label!r} of {task} is not JSON: {error}")
    kind = type(error).__qualname__
    return BadArguments(task, f"stored argument {label!r} could not be built: {kind}: {error}")
