"""The examination of a SQLite file: settings, file system, room, rights, soundness."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from treadle.core.clock import SystemClock
from treadle.store.findings import Finding, Level, judge_clock, ok, unseen

CHECK_S: Final = 20.0
"""How long the file's soundness may be looked into."""
_STEPS: Final = 10_000
"""Steps of SQLite's machine between two looks at the time."""
_PROBLEMS_MAX: Final = 5
_FREE_MIN: Final = 512 * 2**20
_WAL_MAX: Final = 256 * 2**20
_MOUNTS: Final = Path("/proc/self/mountinfo")
_FAR: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2",
     "afs", "beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph",
     "fuse.gcsfuse", "virtiofs"}
)  # fmt: skip
_SAFE_SYNC: Final = {2: "full", 3: "extra"}
_SYNC: Final = {0: "off", 1: "normal"} | _SAFE_SYNC


def look(db: sqlite3.Connection, at: int, version: int, *, deep: bool) -> list[Finding]:
    """Look at what an open connection says; `at` is the store's time (µs)."""
    wall = SystemClock().wall()
    findings = [
        ok("version", f"SQLite {sqlite3.sqlite_version}"),
        ok("schema", f"version {version}"),
        judge_sync(db.execute("pragma synchronous").fetchone()[0]),
        judge_journal(db.execute("pragma journal_mode").fetchone()[0]),
        judge_clock(wall, at, SystemClock().wall()),
    ]
    return [*findings, _soundness(db)] if deep else findings


def judge_sync(mode: int) -> Finding:
    """Judge whether a commit waits for the disk."""
    name = _SYNC.get(mode, str(mode))
    if mode in _SAFE_SYNC:
        return ok("synchronous", name, "A commit that returned survives a power cut.")
    means = "A power cut loses what was committed last."
    return Finding(Level.LOSES, "synchronous", name, means, "Let nothing of yours change it.")


def judge_journal(mode: str) -> Finding:
    """Judge the journal: readers and the writer must not wait for each other."""
    if mode == "wal":
        return ok("journal_mode", mode)
    means = "Readers and writers wait for each other."
    advice = "Stop the workers and run: pragma journal_mode = wal"
    return Finding(Level.WARNING, "journal_mode", mode, means, advice)


def _soundness(db: sqlite3.Connection) -> Finding:
    """Look into the file for damage, as long as it may take."""
    deadline = time.monotonic() + CHECK_S
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        rows = [row[0] for row in db.execute(f"pragma quick_check({_PROBLEMS_MAX})")]
    except sqlite3.OperationalError as error:
        if time.monotonic() <= deadline:
            raise
        advice = "Check a copy of it: pragma integrity_check"
        return unseen("quick_check", f"not done within {CHECK_S:g} s ({error})", advice)
    except sqlite3.DatabaseError as error:
        rows = [str(error)]
    finally:
        db.set_progress_handler(None, 0)
    if rows == ["ok"]:
        return ok("quick_check", "ok")
    means = "The file is damaged; jobs may be lost already."
    advice = "Stop the workers, keep a copy, and restore a backup or run sqlite3's .recover."
    return Finding(Level.LOSES, "quick_check", "; ".join(rows)[:500], means, advice)


def look_at_file(path: Path) -> Iterator[Finding]:
    """Look at the file from outside.

    Raises:
        OSError: it is gone.
    """
    yield judge_file_system(path, _mounts())
    free = shutil.disk_usage(path.parent).free
    yield judge_free(free)
    wal = Path(f"{path}-wal")
    yield judge_wal(wal.stat().st_size if wal.exists() else 0)
    yield judge_rights(path.stat().st_mode)
    if not os.access(path.parent, os.W_OK):
        means = "SQLite cannot make its log there, and no worker its live file."
        yield Finding(
            Level.LOSES, "folder", "not writable", means, f"Give it to this user: {path.parent}"
        )


def _mounts() -> str | None:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def judge_file_system(path: Path, mounts: str | None) -> Finding:
    """Judge the file system that a path is on, by the text of Linux's `mountinfo`; see proc(5)."""
    if mounts is None:
        return unseen(
            "file system", "this system does not tell", "Make sure that it is a local disk."
        )
    kind, depth = "unknown", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5:  # noqa: PLR2004 -- the fifth is the place of the mount
            continue
        place = Path(fields[4].encode().decode("unicode_escape"))
        if path.is_relative_to(place) and len(place.parts) >= depth:
            kind, depth = after.partition(" ")[0], len(place.parts)
    if kind in _FAR:
        means = "Its locks do not hold between machines: the file can be damaged."
        advice = "Put it on a local disk; for many machines take PostgreSQL or Redis."
        return Finding(Level.LOSES, "file system", kind, means, advice)
    return ok("file system", kind)


def judge_free(free: int) -> Finding:
    """Judge the room on the disk (bytes)."""
    shown = f"{free / 2**20:,.0f} MiB free"
    if free >= _FREE_MIN:
        return ok("disk", shown)
    means = "When it is full nothing can be stored or settled until there is room."
    return Finding(Level.WARNING, "disk", shown, means, "Free some space, or keep jobs less long.")


def judge_wal(size: int) -> Finding:
    """Judge the size of the write-ahead log (bytes)."""
    shown = f"{size / 2**20:,.1f} MiB"
    if size <= _WAL_MAX:
        return ok("write-ahead log", shown)
    means = "A reader that stays open keeps it from being written back, and reads become slow."
    return Finding(Level.WARNING, "write-ahead log", shown, means, "Find who reads for so long.")


def judge_rights(mode: int) -> Finding:
    """Judge who may read and write the file."""
    shown = stat.filemode(mode)
    if not mode & 0o077:
        return ok("rights", shown)
    writes = bool(mode & 0o022)
    means = f"Others on this machine may {'change' if writes else 'read'} every job."
    level = Level.WARNING if writes else Level.NOTE
    return Finding(level, "rights", shown, means, "chmod 600, unless a group of yours shares it.")
