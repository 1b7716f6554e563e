"""The demo proves what it says, and says so when it cannot."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from examples.orders import generate
from examples.orders.place import ORDERS_CSV, REFUSED_TXT
from examples.orders.rows import BadRow, check, read_rows

ROOT: Final = Path(__file__).parents[2]
QUICK_S: Final = 60
"""More than the demo allows itself: it must end by itself."""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the demo from the project's folder."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=QUICK_S, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the quick demo once; give its folder and what it printed."""
    home = tmp_path_factory.mktemp("demo")
    done = run("examples.orders.run", "--quick", "--folder", str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def account(printed: str, task: str) -> list[int]:
    """Read the numbers of one line of the ledger."""
    (line,) = [line for line in printed.splitlines() if line.split()[:1] == [task]][-1:]
    return [int(word.replace(",", "")) for word in re.findall(r"\b[\d,]+\b", line)]


@pytest.mark.timeout(240)
def test_every_job_is_accounted_for(finished: tuple[Path, str]) -> None:
    """Each task's jobs have ended, none is lost, and what they left behind is there."""
    _, printed = finished
    for task in ("check_order", "write_report", "send_bill"):
        enqueued, succeeded, dead, lost, found, _twice = account(printed, task)
        assert enqueued == succeeded + dead
        assert lost == 0
        assert found == succeeded
    assert account(printed, "write_report")[0] == 80


@pytest.mark.timeout(240)
def test_jobs_of_the_killed_worker_come_back(finished: tuple[Path, str]) -> None:
    """At least ten jobs have a lost attempt of that worker and another one of another worker."""
    _, printed = finished
    killed = re.search(r"(worker \d) \(process \d+\) was killed with SIGKILL", printed)
    assert killed is not None
    back = re.findall(r"attempt (\d), (worker \d) +lost +attempt (\d), (worker \d)", printed)
    assert len(back) >= 10
    for first, lost_by, second, done_by in back:
        assert int(second) == int(first) + 1
        assert lost_by == killed[1] != done_by


@pytest.mark.timeout(240)
def test_a_ledger_that_was_tampered_with_disagrees(finished: tuple[Path, str]) -> None:
    """Without one report or one mail the exit code is 1, and the missing thing is named."""
    home, _ = finished
    ledger = ("examples.orders.ledger", str(home))
    assert run(*ledger).returncode == 0
    report = next((home / "reports").glob("C*.txt"))
    kept = report.read_bytes()
    report.unlink()
    without_report = run(*ledger)
    report.write_bytes(kept)
    assert without_report.returncode == 1
    assert f"1 are missing although their jobs succeeded: {report.stem}" in without_report.stdout
    mails = home / "mails.jsonl"
    mails.write_bytes(b"".join(mails.read_bytes().splitlines(keepends=True)[:5]))
    assert run(*ledger).returncode == 1


@pytest.mark.timeout(240)
def test_no_process_is_left_behind(finished: tuple[Path, str]) -> None:
    """When the demo has ended, nothing runs that was started for its folder."""
    home, _ = finished
    environments = Path("/proc").glob("[0-9]*/environ")
    assert not [file for file in environments if f"ORDERS_HOME={home}".encode() in _read(file)]


def _read(file: Path) -> bytes:
    """Read a file of a process; nothing when it is another user's or has just ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """Two runs never mix their files."""
    (tmp_path / "jobs.db").touch()
    done = run("examples.orders.run", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_the_data_are_those_of_the_generator(tmp_path: Path) -> None:
    """The files come out of the fixed seed byte for byte, with as many bad rows as it says."""
    generate.write(tmp_path / "orders.csv", tmp_path / "refused.txt")
    assert (tmp_path / "orders.csv").read_bytes() == ORDERS_CSV.read_bytes()
    assert (tmp_path / "refused.txt").read_bytes() == REFUSED_TXT.read_bytes()
    bad: dict[str, int] = {}
    for row in read_rows(ORDERS_CSV):
        try:
            check(row)
        except BadRow as fault:
            bad[fault.kind] = bad.get(fault.kind, 0) + 1
    assert bad == generate.BAD
