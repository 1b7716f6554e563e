"""A power failure, played from what a program told the kernel to write and to sync.

strace notes each write, truncation and sync of the files of a folder, in order. `Trace.image`
gives what a disk may hold that lost power at some moment: what was written before a sync of that
file began which has ended, for certain; of what was written since, any part, in sectors, whatever
the order. That is what a disk promises that keeps to fsync(2). The names of files are taken to
last as soon as they are given; a file that another one replaces is not played, and refused.
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

SECTOR: Final = 512
CHANCE: Final = 0.5
"""That a sector is on the disk which was not synced, where some are."""
CALLS: Final = "pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat2"
_LINE: Final = re.compile(r"^(\d+) +(\w+)\((.*)$", re.DOTALL)
_RESUMED: Final = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_UNFINISHED: Final = " <unfinished ...>"
_FILE: Final = re.compile(r"^\d+<([^>]*)>(?:, )?(.*)$", re.DOTALL)
_DATA: Final = re.compile(r'^"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?, \d+(?:, (\d+))?')
_GONE: Final = ("unlink", "unlinkat", "rename", "renameat2")

Kept = Literal["none", "all", "some"]
"""What is on the disk of all that was not synced."""


def command(log: Path, *words: str) -> list[str]:
    """Give the command that runs a program and notes what it writes."""
    options = ["-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}"]
    return ["strace", *options, "-e", "signal=none", "-o", str(log), *words]


@dataclass
class Event:
    """A call on a file; `end` is the place of its answer, of which a killed program had none."""

    call: str
    name: str
    offset: int
    data: bytes
    begin: int
    end: int | None = None


class Trace:
    """All that was done to the files of a folder, and what they held before."""

    def __init__(self, log: Path, folder: Path, before: dict[str, bytes]) -> None:
        """Read a log of strace; `before` is what lay in the folder, synced, by its name."""
        self.before = before
        self.events = list(_events(log.read_text(encoding="ascii").splitlines(), folder))

    @property
    def end(self) -> int:
        """The place behind the last event."""
        return max(event.end or event.begin for event in self.events) + 1

    def of(self, name: str) -> list[Event]:
        """Give the events of one file."""
        return [event for event in self.events if event.name == name]

    def lines(self, name: str, cut: int) -> bytes:
        """Give what was appended to a file and answered for at that moment, synced or not."""
        return b"".join(
            one.data
            for one in self.of(name)
            if one.call == "write" and one.end is not None and one.end < cut
        )

    def image(self, name: str, cut: int, kept: Kept, draw: random.Random) -> bytes:
        """Give what the disk may hold of a file when the power fails at a place of the log."""
        past = [one for one in self.of(name) if one.begin < cut]
        synced = [
            one.begin
            for one in past
            if one.call in {"fsync", "fdatasync"} and one.end is not None and one.end < cut
        ]
        last = max(synced, default=-1)
        disk = bytearray(self.before.get(name, b""))
        size = len(disk)
        for one in past:
            lasts = kept == "all" or (one.end is not None and one.end < last)
            if one.call == "ftruncate":
                size = one.offset
                if lasts or (kept == "some" and draw.random() < CHANCE):
                    _resize(disk, size)
            elif one.call in {"pwrite64", "write"}:
                at = one.offset if one.call == "pwrite64" else size
                size = max(size, at + len(one.data))
                if lasts:
                    _put(disk, at, one.data)
                elif kept == "some":
                    for part, data in _sectors(at, one.data):
                        if draw.random() < CHANCE:
                            _put(disk, part, data)
        return bytes(disk)


def _put(disk: bytearray, at: int, data: bytes) -> None:
    _resize(disk, max(len(disk), at + len(data)))
    disk[at : at + len(data)] = data


def _resize(disk: bytearray, size: int) -> None:
    del disk[size:]
    disk.extend(bytes(size - len(disk)))


def _sectors(at: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what was written where sectors of the disk begin."""
    while data:
        size = SECTOR - at % SECTOR
        yield at, data[:size]
        at, data = at + size, data[size:]


def _events(lines: Iterable[str], folder: Path) -> Iterator[Event]:
    """Read the calls on files of a folder; those that failed changed nothing."""
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    for place, line in enumerate(lines):
        if (resumed := _RESUMED.match(line)) is not None:
            pid, call, rest = resumed.groups()
            begin, said = begun.pop((pid, call))
            yield from _event(call, said + rest, folder, begin, place)
        elif (whole := _LINE.match(line)) is not None:
            pid, call, said = whole.groups()
            if said.endswith(_UNFINISHED):
                begun[pid, call] = place, said.removesuffix(_UNFINISHED)
            else:
                yield from _event(call, said, folder, place, place)
    for (_, call), (begin, said) in begun.items():
        yield from _event(call, said, folder, begin, None)


def _event(call: str, said: str, folder: Path, begin: int, end: int | None) -> Iterator[Event]:
    asked, _, answer = said.rpartition(" = ")
    if end is not None and answer.startswith("-1"):
        return
    asked = asked or said
    if call in _GONE:
        path = _text(asked)
        assert str(folder) not in path or path.endswith("-shm") or "-live" in path, said
        return
    file = _FILE.match(asked)
    if file is None or Path(_text(file[1])).parent != folder:
        return
    name, rest = Path(_text(file[1])).name, file[2]
    if call == "ftruncate":
        yield Event(call, name, int(rest.rstrip(") ")), b"", begin, end)
    elif (data := _DATA.match(rest)) is not None:
        assert data[2] is None, "strace has cut what was written"
        yield Event(call, name, int(data[3] or 0), _bytes(data[1]), begin, end)
    else:
        yield Event(call, name, 0, b"", begin, end)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    """Read a name, which strace writes plainly behind a descriptor and in hex in an argument."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)
