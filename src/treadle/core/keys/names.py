"""Names that people give: to a task, a lock, a limit, a tenant or a schedule."""

from __future__ import annotations


def check_printable(name: object, what: str, most: int, *, strict: bool = False) -> str:
    """Return a name when it is 1 to `most` printable characters; `what` is what the error calls it.

    A `strict` one has no blanks at its ends either.

    Raises:
        TypeError: it is no str.
        ValueError: it is empty, too long, or has characters that are not its own.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} is a str, not {type(name).__name__}")
    is_bare = not strict or name == name.strip()
    if not (0 < len(name) <= most and name.isprintable() and is_bare):
        also = " and no blanks at its ends" if strict else ""
        raise ValueError(
            f"{what} has 1 to {most} printable characters{also}; {name[:50]!r} has {len(name):,}"
        )
    return name
