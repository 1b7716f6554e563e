"""The fault kit: the points are found, a fault strikes where it is armed, and only there."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle import StoreUnavailable
from treadle.core import fault
from treadle.testing.faults import Spec, arm_from_spec, main, points, reached, read_counts

PROGRAM = """
import sys
from treadle.core import fault
for n in range(int(sys.argv[1])):
    fault.point("enqueue.after_commit")
    fault.point("claim.accepted")
print("the end")
"""
NAME = "enqueue.after_commit"


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    fault.arm(None)


def run(folder: Path, fault_text: str, times: int) -> "subprocess.CompletedProcess[str]":
    """Run a program that comes to two points a number of times."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "treadle.testing.faults", fault_text, "--"]
    return subprocess.run(
        [*command, str(program), str(times)], check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def test_points_are_found_in_the_sources() -> None:
    """Each point has a name, a place, and says whether it lies in a store."""
    found = {point.name: point for point in points()}
    assert len(found) >= 15
    assert found["exchange.after_commit"].in_store
    assert not found["execute.before_start"].in_store
    assert found["execute.before_start"].where.startswith("worker/line.py:")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('fault.point("a.b")\nfault.point("a.b")\n', "one.py:1 are both named 'a.b'"),
        ("fault.point(name)\n", "one.py:1: a fault point is named by a plain string"),
    ],
)
def test_points_that_could_not_be_swept_are_refused(
    tmp_path: Path, source: str, complaint: str
) -> None:
    """A name that stands twice, or is made up at run time, would hide a point."""
    (tmp_path / "one.py").write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        points(tmp_path)


def test_a_new_point_is_found_by_itself(tmp_path: Path) -> None:
    """Nothing but the call makes a point known."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "new.py").write_text('if x:\n    fault.point("new.one")\n')
    assert [(p.name, p.where) for p in points(tmp_path)] == [("new.one", "deep/new.py:2")]


@pytest.mark.parametrize(
    "text",
    ["", "nowhere:kill", f"{NAME}:", f"{NAME}:burn", f"{NAME}:kill@0", f"{NAME}:kill@x", NAME],
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    """An unknown point, action or number is an error before anything runs."""
    with pytest.raises(ValueError, match=r"there is no fault point|is no fault"):
        arm_from_spec(text)


def test_a_fault_is_written_as_it_is_read() -> None:
    """The text of a fault gives the same fault again."""
    assert Spec.parse(f"{NAME}:kill") == Spec(NAME, "kill", 1)
    assert Spec.parse(str(Spec(NAME, "stop", 7))) == Spec(NAME, "stop", 7)


def test_an_error_strikes_at_its_occurrence_alone() -> None:
    """The nth time the point is reached it raises, before and after that it does not."""
    counts = arm_from_spec(f"{NAME}:error@2")
    fault.point(NAME)
    fault.point("claim.accepted")
    with pytest.raises(StoreUnavailable, match="on purpose"):
        fault.point(NAME)
    fault.point(NAME)
    assert counts == {NAME: 3, "claim.accepted": 1}


def test_a_killed_program_dies_there_and_says_so(tmp_path: Path) -> None:
    """SIGKILL at the third occurrence; what it wrote last names the fault."""
    done = run(tmp_path, f"{NAME}:kill@3", 5)
    assert done.returncode == -signal.SIGKILL
    assert reached(done.stderr, Spec(NAME, "kill", 3))
    assert "the end" not in done.stdout


def test_a_fault_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    """A program that comes to the point too seldom ends as it would have."""
    done = run(tmp_path, f"{NAME}:kill@6", 5)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")
    assert not reached(done.stderr, Spec(NAME, "kill", 6))


def test_a_dry_run_counts(tmp_path: Path) -> None:
    """`count:FILE` writes how often each point was reached."""
    file = tmp_path / "counts"
    assert run(tmp_path, f"count:{file}", 4).returncode == 0
    assert read_counts(file) == {NAME: 4, "claim.accepted": 4}


def test_the_command_line_runs_treadle_itself(tmp_path: Path) -> None:
    """Words that name no program are treadle's own command."""
    done = subprocess.run(
        [sys.executable, "-m", "treadle.testing.faults", f"{NAME}:kill", "--", "--version"],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "treadle" in done.stdout


@pytest.mark.parametrize("words", [[], [NAME], [f"{NAME}:kill", "worker"], ["x:kill", "--", "w"]])
def test_a_wrong_command_line_says_how(words: list[str]) -> None:
    """Without a fault, a command and the dashes between it prints what it takes."""
    with pytest.raises(SystemExit, match=r"usage: python -m|there is no fault point"):
        main(words)
