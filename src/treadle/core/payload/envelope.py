"""How is a stored call laid out, and what is wrong with bytes that are not one?

`[1, [positional...], {keyword...}]`: the format version, then the arguments; the keywords are
left out when there are none. It takes a call apart without decoding the arguments, which is the
work of `core.codec`.
"""

from typing import Final

import msgspec

from treadle.core.errors import PayloadError

FORMAT: Final = 1

_MARKER = [msgspec.Raw(str(FORMAT).encode())]
_PARTS = (1, 2)
_SHOWN_BYTES_MAX = 60

_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw_dict = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def split(payload: bytes) -> tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]:
    """Take a stored call apart into its undecoded arguments.

    Raises:
        PayloadError: the bytes are not a call of this format.
    """
    if not isinstance(payload, bytes):
        raise PayloadError(f"a stored call must be bytes, not {type(payload).__qualname__}")
    try:
        pieces = _raw_list(payload)
        marker, parts = pieces[:1], pieces[1:]
        if marker == _MARKER and len(parts) in _PARTS:
            return _raw_list(parts[0]), _raw_dict(parts[1]) if len(parts) > 1 else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PayloadError(
            f"the stored call is not a JSON array of a version marker, arguments and keywords "
            f"({error}); it is {shown(payload)}"
        ) from error
    if marker == _MARKER:
        raise PayloadError(
            f"the stored call has {len(parts)} parts after its version marker, not 1 or 2; "
            f"it is {shown(payload)}"
        )
    found = shown(bytes(marker[0])) if marker else "none"
    raise PayloadError(
        f"the version marker of the stored call is {found}, and this version of treadle reads "
        f"{FORMAT}; let a worker of the version that wrote the call run it"
    )


def shown(payload: object) -> str:
    """Show the beginning of stored bytes, for messages."""
    if not isinstance(payload, bytes) or len(payload) <= _SHOWN_BYTES_MAX:
        return repr(payload)
    return f"{payload[:_SHOWN_BYTES_MAX]!r}... ({len(payload):,} bytes)"
