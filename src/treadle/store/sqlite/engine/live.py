"""Live files: how a worker proves that it lives, without the file's only write lock.

Each worker has a small file beside the database, mapped into memory. A beat writes eight
bytes there; a mark writes which claim's code is about to start. The kernel keeps both when
the process is killed. The worker also holds an flock on it, which the kernel lets go the
moment the last process that shares it is dead: so a crash is seen at once and with certainty,
and only a worker that hangs or sleeps has to be judged by its lease (docs/adr/0005).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from treadle.core.errors import StoreUnavailable
from treadle.store.contract import BATCH_MAX
from treadle.store.sqlite.engine.clock import BOOT_ID, UNKNOWN_BOOT

PLACES = BATCH_MAX * 4
_MAGIC = b"treadle1"
_HEADER = struct.Struct("8s36sq")
_BEAT = struct.Struct("q")
_BEAT_AT = _HEADER.size - _BEAT.size
_MARK = struct.Struct("16sq")
_MARKS_AT = 64
_SIZE = _MARKS_AT + PLACES * _MARK.size


class Sign(Struct, frozen=True):
    """What a worker's live file says of it."""

    dead: bool
    """Proven: its process is gone, or the machine has booted since."""
    beat: int | None
    """Monotonic microseconds of its last beat; None when the file is gone."""


class Lives(Protocol):
    """Where the workers of one store prove that they live."""

    def begin(self, worker: str, beat: int) -> None:
        """Make the worker's file and beat for the first time."""
        ...

    def beat(self, worker: str, at: int) -> bool:
        """Beat at this monotonic time; False when this process has no such worker."""
        ...

    def mark(self, worker: str, job: bytes, number: int, place: int) -> None:
        """Remember that this claim's code is about to start."""
        ...

    def sign(self, worker: str) -> Sign:
        """Read what is known of another worker."""
        ...

    def marked(self, worker: str) -> set[tuple[bytes, int]]:
        """Read the claims that the worker marked."""
        ...

    def end(self, worker: str) -> None:
        """Remove the worker's file."""
        ...


class LiveFiles:
    """Live files in a folder beside the database."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """Take the folder, and the prefix that tells the namespaces of one file apart."""
        self.folder = folder
        self._prefix = prefix
        self._maps: dict[str, tuple[mmap.mmap, int]] = {}

    def begin(self, worker: str, beat: int) -> None:
        """Make the worker's file, allocated in full, hold its lock and beat.

        Raises:
            StoreUnavailable: the folder cannot be written or is a link, or the disk is full.
        """
        if self.beat(worker, beat):
            return
        path = self._path(worker)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if self.folder.is_symlink():
                raise StoreUnavailable(
                    f"{self.folder} is a link; workers keep their live files in a folder of their "
                    "own beside the database: remove the link"
                )
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _no_file(path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A hole in a mapped file on a full disk would kill the worker with SIGBUS later.
            os.posix_fallocate(fd, 0, _SIZE)
            mapped = mmap.mmap(fd, _SIZE)
        except OSError as error:
            os.close(fd)
            raise _no_file(path, error) from error
        _HEADER.pack_into(mapped, 0, _MAGIC, BOOT_ID.encode(), beat)
        self._maps[worker] = (mapped, fd)

    def beat(self, worker: str, at: int) -> bool:
        """Write the beat; False when this process has no such worker."""
        held = self._maps.get(worker)
        if held is None:
            return False
        _BEAT.pack_into(held[0], _BEAT_AT, at)
        return True

    def mark(self, worker: str, job: bytes, number: int, place: int) -> None:
        """Write the mark; nothing when this process has no such worker any more.

        It was rescued then, and what it starts can settle nothing.
        """
        held = self._maps.get(worker)
        if held is not None:
            _MARK.pack_into(held[0], _MARKS_AT + place * _MARK.size, job, number)

    def sign(self, worker: str) -> Sign:
        """Read a worker's file and try its lock: a free lock proves that it is dead."""
        try:
            fd = os.open(self._path(worker), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return Sign(dead=False, beat=None)
        try:
            head = os.read(fd, _HEADER.size)
            if len(head) < _HEADER.size:
                # It was made a moment ago, or its maker died while making it.
                return Sign(dead=_lock_is_free(fd), beat=None)
            magic, boot, beat = _HEADER.unpack(head)
            # A process that may not read the boot's id writes another text in its place.
            boots = {boot.rstrip(b"\0").decode("ascii", "replace"), BOOT_ID}
            other_boot = magic == _MAGIC and len(boots) > 1 and UNKNOWN_BOOT not in boots
            return Sign(dead=other_boot or _lock_is_free(fd), beat=beat)
        finally:
            os.close(fd)

    def marked(self, worker: str) -> set[tuple[bytes, int]]:
        """Read the marks; none when the file is gone."""
        try:
            raw = self._path(worker).read_bytes()[_MARKS_AT:]
        except OSError:
            return set()
        whole = len(raw) - len(raw) % _MARK.size
        return {(job, number) for job, number in _MARK.iter_unpack(raw[:whole]) if number}

    def end(self, worker: str) -> None:
        """Unmap and remove the worker's file."""
        held = self._maps.pop(worker, None)
        with contextlib.suppress(FileNotFoundError):
            self._path(worker).unlink()
        if held is not None:
            held[0].close()
            os.close(held[1])

    def close(self) -> None:
        """Let go of the files of workers that never left."""
        for mapped, fd in self._maps.values():
            mapped.close()
            os.close(fd)
        self._maps.clear()

    def _path(self, worker: str) -> Path:
        # A worker's id holds the host name; its digest is always a legal file name.
        return self.folder / hashlib.sha256(f"{self._prefix}{worker}".encode()).hexdigest()[:32]


class LiveMemory:
    """The same for a memory store: its workers live and die with the process."""

    def __init__(self) -> None:
        self._beats: dict[str, int] = {}
        self._marks: dict[str, dict[int, tuple[bytes, int]]] = {}

    def begin(self, worker: str, beat: int) -> None:
        """Beat for the first time."""
        self._beats[worker] = beat
        self._marks.setdefault(worker, {})

    def beat(self, worker: str, at: int) -> bool:
        """Beat; False when there is no such worker."""
        if worker not in self._beats:
            return False
        self._beats[worker] = at
        return True

    def mark(self, worker: str, job: bytes, number: int, place: int) -> None:
        """Remember the mark."""
        self._marks[worker][place] = (job, number)

    def sign(self, worker: str) -> Sign:
        """Give the last beat; nothing proves a death inside one process."""
        return Sign(dead=False, beat=self._beats.get(worker))

    def marked(self, worker: str) -> set[tuple[bytes, int]]:
        """Give the marks."""
        return set(self._marks.get(worker, {}).values())

    def end(self, worker: str) -> None:
        """Forget the worker."""
        self._beats.pop(worker, None)
        self._marks.pop(worker, None)

    def close(self) -> None:
        """Forget every worker."""
        self._beats.clear()
        self._marks.clear()


def _lock_is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _no_file(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"the worker's live file {path} cannot be made: {error.strerror}; "
        "check the folder's rights and the free space"
    )
