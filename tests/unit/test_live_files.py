"""Live files: what one process can tell of another's worker, and what it must not conclude."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from treadle.store.sqlite.engine import live
from treadle.store.sqlite.engine.clock import BOOT_ID, UNKNOWN_BOOT
from treadle.store.sqlite.engine.live import LiveFiles, Sign

KNOWN = BOOT_ID
OTHER = "00000000-0000-0000-0000-000000000000"


@contextmanager
def lives_in(folder: Path) -> Iterator[LiveFiles]:
    """Make the live files of one process, closed at the end."""
    lives = LiveFiles(folder, "p")
    try:
        yield lives
    finally:
        lives.close()


@pytest.mark.parametrize(
    ("written_by", "read_by", "dead"),
    [
        (KNOWN, KNOWN, False),
        (UNKNOWN_BOOT, KNOWN, False),
        (KNOWN, UNKNOWN_BOOT, False),
        (OTHER, KNOWN, True),
    ],
)
def test_a_boot_id_that_cannot_be_read_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_by: str, read_by: str, *, dead: bool
) -> None:
    """A live worker is not taken for dead because one of two processes cannot read the boot id."""
    with lives_in(tmp_path / "live") as its, lives_in(tmp_path / "live") as ours:
        monkeypatch.setattr(live, "BOOT_ID", written_by)
        its.begin("w", 5)
        monkeypatch.setattr(live, "BOOT_ID", read_by)
        assert ours.sign("w") == Sign(dead=dead, beat=5)


def test_a_process_that_is_gone_is_dead_at_once(tmp_path: Path) -> None:
    """The lock that its process held is free: no lease has to end first."""
    with lives_in(tmp_path / "live") as ours:
        with lives_in(tmp_path / "live") as its:
            its.begin("w", 5)
            assert ours.sign("w") == Sign(dead=False, beat=5)
        assert ours.sign("w") == Sign(dead=True, beat=5)
