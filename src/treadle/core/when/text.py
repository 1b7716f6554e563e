"""The text of a cron expression, and how a fault in it is shown.

An error names the fault and shows it: the expression, and carets below the place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from treadle.core.errors import BadTrigger

TEXT_MAX: Final = 1_000
"""Characters that an expression may have."""
_SHOWN: Final = 36
"""Characters shown on each side of a fault."""


class Piece(NamedTuple):
    """A part of an expression, and where in it the part begins."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The place after the last character."""
        return self.start + len(self.text)

    def split(self, separator: str) -> tuple[Piece, Piece | None]:
        """Divide at the first separator; the second half is None where there is none."""
        head, found, tail = self.text.partition(separator)
        if not found:
            return self, None
        return Piece(head, self.start), Piece(tail, self.start + len(head) + 1)

    def items(self, separator: str) -> list[Piece]:
        """Divide at every separator."""
        found, start = [], self.start
        for text in self.text.split(separator):
            found.append(Piece(text, start))
            start += len(text) + 1
        return found


def words(whole: str) -> list[Piece]:
    """Divide an expression at blanks and tabs."""
    found, start = [], 0
    for text in whole.replace("\t", " ").split(" "):
        if text:
            found.append(Piece(text, start))
        start += len(text) + 1
    return found


def bad(whole: str, at: Piece, why: str) -> BadTrigger:
    """Make the error for a fault in a part of an expression."""
    first = max(0, at.start - _SHOWN)
    last = min(len(whole), at.end + _SHOWN)
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in whole)
    before, after = "…" * (first > 0), "…" * (last < len(whole))
    blank = " " * (at.start - first + len(before))
    caret = "^" * max(1, min(len(at.text), 2 * _SHOWN))
    end = min(last, at.start + len(caret) + _SHOWN)
    if end < last:
        last, after = end, "…"
    return BadTrigger(
        f"cron expression: {why}\n    {before}{shown[first:last]}{after}\n    {blank}{caret}"
    )
