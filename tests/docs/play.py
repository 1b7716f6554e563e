"""Running one page of the documentation, from its first block to its last."""

import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.docs.expected import Ids
from tests.docs.snippets import Block, blocks, commands
from tests.docs.terminal import Terminal

PAGE_S: Final = 150.0
"""How long a page may take in all: seventeen programs start and end in the longest, and take six
seconds together on a machine that has nothing else to do."""


def play(text: str, folder: Path, *, seconds: float = PAGE_S) -> None:
    """Run the blocks of a page in an empty folder.

    Raises:
        AssertionError: a block failed or printed something else; names its line.
    """
    with ExitStack() as stack:
        page = _Page(folder, time.monotonic() + seconds, stack)
        for block in blocks(text):
            page.play(block)
        page.end()


class _Page:
    """What one page has done so far."""

    def __init__(self, folder: Path, deadline: float, stack: ExitStack) -> None:
        self._folder = folder
        self._deadline = deadline
        self._stack = stack
        self._ids = Ids()
        self._background: list[tuple[Block, str, Terminal]] = []
        self._printed = ""
        """What the last script printed."""

    def play(self, block: Block) -> None:
        """Do with a block what its words say."""
        match block.kind:
            case "file":
                self._write(block)
            case "script":
                self._script(block)
            case "output":
                self._compare(block, block.text, self._printed)
            case "console":
                for command, shown in commands(block.text):
                    self._run(block, command, shown)
            case "background":
                self._start(block)
            case _:
                assert block.kind == "text", f"line {block.line}: unknown words {block.info!r}"

    def end(self) -> None:
        """Stop what goes on in the background, the last started first."""
        for block, shown, terminal in reversed(self._background):
            code, printed = terminal.stop()
            assert code == 0, _told(block, f"ended with {code} after SIGTERM and printed", printed)
            if shown.strip():
                self._compare(block, shown, printed)

    def _write(self, block: Block) -> None:
        path = (self._folder / str(block.title)).resolve()
        assert path.is_relative_to(self._folder), f"line {block.line}: {block.title} is outside"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _script(self, block: Block) -> None:
        path = self._folder / f"line_{block.line}.py"
        path.write_text(block.text, encoding="utf-8")
        self._printed = self._end(block, shlex.join([sys.executable, path.name]))

    def _run(self, block: Block, command: str, shown: str) -> None:
        printed = self._end(block, self._ids.real(command))
        if shown.strip():
            self._compare(block, shown, printed)

    def _end(self, block: Block, command: str) -> str:
        with Terminal(command, self._folder, self._deadline) as terminal:
            code, printed = terminal.end()
        state = "did not end in time" if code is None else f"ended with {code}"
        assert code == 0, _told(block, f"{command!r} {state} and printed", printed)
        return printed

    def _start(self, block: Block) -> None:
        ((command, shown),) = commands(block.text)
        terminal = Terminal(f"exec {command}", self._folder, self._deadline)
        self._background.append((block, shown, self._stack.enter_context(terminal)))

    def _compare(self, block: Block, shown: str, printed: str) -> None:
        assert self._ids.accept(shown, printed), (
            _told(block, "printed", printed) + f"\nbut the page shows\n{shown}"
        )


def _told(block: Block, what: str, printed: str) -> str:
    return f"the block at line {block.line} {what}\n{printed}"
