"""The small files that lie beside the database: made with its rights, and no one else's file.

SQLite gives its log the rights of the database, and its owner where root makes it
(sqlite.org/tempfiles.html, section 2.2); so does this, or a command that root has run would
shut the workers out.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_beside(path: Path, database: Path, size: int) -> int:
    """Open a file of up to `size` bytes beside the database, made where there is none.

    Raises:
        OSError: it cannot be opened or made, or what lies there is nothing of treadle's.
    """
    try:
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Looked at before it is opened: if it is another database that this process uses, to
        # close it again would drop SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2).
        _check(os.lstat(path), path, size)
        return os.open(path, _FLAGS)
    try:
        like = database.stat()
        if os.geteuid() == 0:
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, stat.S_IMODE(like.st_mode) & 0o666)
    except BaseException:
        os.close(fd)
        raise
    return fd


class SmallFile:
    """An open file, closed once no thread uses it any more: its number is no other file's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _check(found: os.stat_result, path: Path, size: int) -> None:
    """Refuse links, folders, and what is too large to be such a file.

    Raises:
        OSError: it is one of them.
    """
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > size:
        msg = f"not a file of treadle's own, with one name and up to {size} bytes"
        raise OSError(errno.EEXIST, msg, str(path))
