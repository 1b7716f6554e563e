"""How do the code blocks of the documentation run?

The word after the three backticks says what a block is, the words behind it what becomes of it:

- any language with `title="app.py"`: the block is written to that file;
- `python run`: a script of its own, which must end without an error;
- `output`: what the script before it prints;
- `console`: lines that begin with `$ ` are commands, the lines after each what it prints;
- `console background`: the same for one command that goes on until the page ends, then SIGTERM;
- `text`: only to be read.

A page runs from top to bottom in a folder of its own. `pages` reads the blocks, `play` runs them,
`terminal` is the terminal they see, and `expected` compares what was printed: `...` stands for
anything, and an id in the text stands for the id that came, in later commands as well.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md")))

Kind = Literal["file", "script", "output", "console", "background", "text"]

_KINDS: Final[dict[str, Kind]] = {
    "python run": "script",
    "output": "output",
    "console": "console",
    "console background": "background",
    "text": "text",
}
_TITLE: Final = re.compile(r'[a-z]+ title="([\w./@-]+)"')
_FENCE: Final = re.compile(r"^( *)(`{3,})([^`\n]*)\n(.*?)^\1\2`* *$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    line: int
    info: str
    """What stands behind the backticks."""
    text: str

    @property
    def title(self) -> str | None:
        """The file that the block is written to."""
        match = _TITLE.fullmatch(self.info)
        return None if match is None else match[1]

    @property
    def kind(self) -> Kind | None:
        """What becomes of the block; None when its words mean nothing here."""
        return "file" if self.title is not None else _KINDS.get(self.info)


def blocks(text: str) -> list[Block]:
    """Read the fenced blocks of a page, in order."""
    return [
        Block(text.count("\n", 0, match.start()) + 1, match[3].strip(), textwrap.dedent(match[4]))
        for match in _FENCE.finditer(text)
    ]


def fences(text: str) -> int:
    """Count the lines that open or close a block, whether or not they pair up."""
    return len(re.findall(r"^ *`{3,}", text, re.MULTILINE))


def commands(text: str) -> list[tuple[str, str]]:
    """Split a console block into commands and what each prints.

    Raises:
        ValueError: the block begins with something else than a command.
    """
    before, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if before.strip() or not parts:
        raise ValueError(f"a console block begins with a line '$ command', not {before!r}")
    split = [part.partition("\n") for part in parts]
    return [(command.strip(), printed) for command, _, printed in split]
