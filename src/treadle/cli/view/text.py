"""How do spans of time and foreign text become words that are safe to print?

Names, messages and arguments come from anybody who can enqueue a job, so what could steer a
terminal is written as an escape. Nothing here knows of jobs or tables.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_UNITS: Final = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s"))
# Control and format characters: escapes of the terminal, line ends, turned-round writing.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NEAR_S: Final = 0.0005


def safe(text: str, *, lines: bool = False) -> str:
    r"""Write unprintable characters as escapes; keep line ends and tabs when `lines` is given.

    >>> safe("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char in kept or unicodedata.category(char) not in _UNSAFE else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def cut(text: str, most: int) -> str:
    """Keep at most `most` characters and say how many more there were."""
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text) - most:,} more characters)"


def span(seconds: float, *, brief: bool = False) -> str:
    """Write a duration the way a person says it, in at most two units, or in one if `brief`.

    >>> span(0.0123), span(59.94), span(61), span(90_000)
    ('12 ms', '59.9 s', '1 min 1 s', '1 d 1 h')
    """
    seconds = max(seconds, 0.0)
    if seconds < 1 - _NEAR_S:
        return f"{seconds * 1000:.0f} ms" if seconds >= _NEAR_S or not seconds else "< 1 ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    for size, name, part, small in _UNITS:
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            more = "" if brief else f" {rest // part} {small}"
            return f"{whole} {name}{more if rest // part else ''}"
    return f"{seconds:.0f} s"


def relative(instant: datetime, now: datetime) -> str:
    """Say how far an instant is from now: `3 s ago`, `in 2 min`, `now`."""
    seconds = round((instant - now).total_seconds())
    if not seconds:
        return "now"
    if seconds > 0:
        return f"in {span(seconds, brief=True)}"
    return f"{span(-seconds, brief=True)} ago"


def stamp(instant: datetime | None) -> str:
    """Write an instant in UTC, to the millisecond; nothing for None."""
    if instant is None:
        return ""
    at = instant.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z"


def number(count: float) -> str:
    """Write a count with its thousands apart."""
    return f"{count:,.0f}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: `1 job`, `2,000 jobs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str], most: int = 10) -> str:
    """Join names with commas, at most `most` of them."""
    every = [safe(name) for name in names]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def shown_url(url: str) -> str:
    """Write a store's URL without the password that may stand in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return safe(url)
    user = parts.username or ""
    host = parts.netloc.rpartition("@")[2]
    return safe(url.replace(parts.netloc, f"{user}:***@{host}", 1))
