"""The ledger: lines of many processes, and what they and the store say together."""

import subprocess
import sys
from pathlib import Path

import pytest

from treadle import JobState
from treadle.testing.ledger import Entry, Ledger, Stored, judge

WRITER = """
import sys
from pathlib import Path
from treadle.testing.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for n in range(300):
    ledger.write("TRY", f"{sys.argv[2]}-{n}", f"{sys.argv[2]}-{n}-more")
"""


def line(word: str, key: str) -> Entry:
    """Make an entry of some process."""
    return Entry(word, key, 1)  # type: ignore[arg-type] # a word of the tests' tables


def job(key: str, state: JobState = JobState.SUCCEEDED, ends: int = 1) -> Stored:
    """Make a job as the store has it."""
    return Stored(key, state, ends)


WHOLE = [line(word, "a") for word in ("TRY", "OK", "START", "END")]


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Several keys are several lines, in order."""
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.entries() == []
    ledger.write("TRY", "a", "b")
    ledger.write("OK", "a")
    assert [(e.word, e.key) for e in ledger.entries()] == [("TRY", "a"), ("TRY", "b"), ("OK", "a")]


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    """Every line is whole, whoever wrote at the same time."""
    file = tmp_path / "ledger"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(n)]) for n in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(Ledger(file).entries()) == 3 * 600


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak"])
def test_a_key_is_one_word(tmp_path: Path, key: str) -> None:
    """A key that could not be read back is refused."""
    with pytest.raises(ValueError, match="one word"):
        Ledger(tmp_path / "ledger").write("OK", key)


def test_a_foreign_line_is_an_error(tmp_path: Path) -> None:
    """A damaged ledger accounts for nothing, so it is not read as far as it goes."""
    file = tmp_path / "ledger"
    file.write_text("OK a 1 1\nBEGIN b 1 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'BEGIN b 1 1' is no line"):
        Ledger(file).entries()


def test_a_line_that_is_still_being_written_is_not_there_yet(tmp_path: Path) -> None:
    """Who reads meanwhile may see a part of a write, and takes only what is whole."""
    file = tmp_path / "ledger"
    file.write_text("OK a 1 1\nOK b 1 1\nOK c 1", encoding="utf-8")
    assert [entry.key for entry in Ledger(file).entries()] == ["a", "b"]


def test_what_went_well_is_sound() -> None:
    """A job that ran, even twice, and was settled once breaks no promise; the rest is counted."""
    account = judge([*WHOLE, line("START", "a"), line("END", "a")], [job("a")])
    assert account.sound
    assert account.overrun == ["a"]
    assert str(account) == "sound, 1 started more than once"


def test_an_enqueue_that_was_never_acknowledged_may_be_there_or_not() -> None:
    """A producer killed in the middle knows neither."""
    tried = line("TRY", "b")
    assert judge([*WHOLE, tried], [job("a")]).sound
    ran = [line("START", "b"), line("END", "b")]
    assert judge([*WHOLE, tried, *ran], [job("a"), job("b")]).sound


@pytest.mark.parametrize(
    ("entries", "stored", "broken"),
    [
        ([line("TRY", "a"), line("OK", "a")], [], "1 lost: a"),
        ([line("TRY", "a"), line("START", "a")], [], "1 lost: a"),
        (WHOLE, [job("a"), job("x", JobState.FAILED)], "1 unexpected: x"),
        (WHOLE, [job("a"), job("a")], "1 doubled: a"),
        (WHOLE, [job("a", JobState.RUNNING, 0)], "1 unfinished: a"),
        (WHOLE[:3], [job("a")], "1 not_run: a"),
        (WHOLE, [job("a", ends=2)], "1 resettled: a"),
        (WHOLE, [job("a", ends=0)], "1 resettled: a"),
    ],
)
def test_a_broken_promise_is_named(entries: list[Entry], stored: list[Stored], broken: str) -> None:
    """Each kind of fault is found, and told with the keys it concerns."""
    account = judge(entries, stored)
    assert not account.sound
    assert str(account) == broken
