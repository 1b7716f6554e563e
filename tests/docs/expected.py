"""Does what was printed look like what a page shows?

`...` in a line stands for any characters, a line of `...` alone for any lines; runs of blanks
are as good as one, so tables may be wider. An id (a UUID) in the page stands for the one that
came: its first sight takes whatever id is there, later ones must be the same.
"""

import re
from typing import Final

_ID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_PARTS: Final = re.compile(rf"\.\.\.|{_ID.pattern}")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Ids:
    """The ids that a page shows, and those that stand for them in this run."""

    def __init__(self) -> None:
        self._came: dict[str, str] = {}

    def real(self, text: str) -> str:
        """Put the ids that came in place of those that are shown."""
        return _ID.sub(lambda match: self._came.get(match[0], match[0]), text)

    def accept(self, shown: str, printed: str) -> bool:
        """Tell whether `printed` looks like `shown`; if so, remember its ids."""
        names: dict[str, str] = {}
        match = re.fullmatch(self._pattern(shown, names), _plain(printed))
        if match is None:
            return False
        self._came.update({shown_id: match[name] for shown_id, name in names.items()})
        return True

    def _pattern(self, shown: str, names: dict[str, str]) -> str:
        """Write the regular expression; `names` gets a group name for each new id."""
        lines = []
        for line in _plain(shown).splitlines():
            if line == "...":
                lines.append(r"(?:.*\n)*?")
            else:
                lines.append(self._line(line, names) + r"\n")
        return "".join(lines)

    def _line(self, line: str, names: dict[str, str]) -> str:
        done, pattern = 0, ""
        for part in _PARTS.finditer(line):
            pattern += re.escape(line[done : part.start()]) + self._part(part[0], names)
            done = part.end()
        return pattern + re.escape(line[done:])

    def _part(self, part: str, names: dict[str, str]) -> str:
        if part == "...":
            return ".*?"
        if part in self._came:
            return re.escape(self._came[part])
        if part in names:
            return f"(?P={names[part]})"
        names[part] = f"id{len(names)}"
        return f"(?P<{names[part]}>{_ID.pattern})"


def _plain(text: str) -> str:
    """Take colours away, make one blank of many, and leave out blank lines."""
    lines = (" ".join(line.split()) for line in _ESCAPES.sub("", text).splitlines())
    return "".join(f"{line}\n" for line in lines if line)
