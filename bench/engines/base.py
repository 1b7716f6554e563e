"""What an engine offers: a server for the length of a run, and an empty store a repetition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Server(Protocol):
    """An engine that runs, or a library that needs none."""

    @property
    def facts(self) -> dict[str, str]:
        """Its version and the settings that decide what a commit is worth, asked of itself."""
        ...

    def fresh(self, directory: Path) -> AbstractContextManager[str]:
        """Hand out the URL of an empty store for the length of a block.

        What the block before left unwritten is on the disk by then, so that no system pays for
        its neighbour. `directory` is for engines that keep a store in a file.
        """
        ...


Engine = Callable[[Path], AbstractContextManager[Server]]
"""Starts an engine whose files are below a directory, and ends it after the block.

Raises `BenchError` where it cannot be had on this machine.
"""
