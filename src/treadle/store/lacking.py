"""Lacking: what a process needs to open a file or a connection, and may have no more of.

Where it has none libraries say that a file cannot be opened, or nothing at all; whoever reads that
looks for the fault in the file or the server.
"""

from __future__ import annotations

import errno
import os
import resource


def no_descriptor() -> str | None:
    """Say that this process can open nothing more, and what to do about it; None: it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"this process has no file descriptor free, of {most:,} (`ulimit -n`); find what "
            f"keeps files or connections open, or raise the limit ({error.strerror})"
        )
    return None
