"""Whether the benchmarks add up: marks to rates, repetitions to medians, medians to verdicts.

Nothing is measured here; the numbers are made up so that the right answer is known. The runs
themselves are `make bench`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench import table
from bench.bars import verdicts
from bench.harness.figures import medians, percentile, slope_per_s
from bench.harness.marks import (
    MARKS_VARIABLE,
    WARM_UP,
    Mark,
    count_marks,
    mark,
    read_marks,
    summarise_drain,
)
from bench.harness.processes import BenchError, TimedOutError, run_json, started, wait_until
from bench.harness.report import FORMAT, Report, Results, Row, read, write
from bench.harness.systems import Site, System
from bench.measures.draining import wait_for_jobs
from bench.selection import Selection

_SECOND_NS = 1_000_000_000
_needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="what processes cost is read from /proc"
)


def test_marks_are_counted_and_read_without_warm_ups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every execution is in the file; those that warmed a worker up are not in the figures."""
    path = tmp_path / "marks"
    monkeypatch.setenv(MARKS_VARIABLE, str(path))

    for number in (7, WARM_UP, 8):
        mark(number)

    assert count_marks(path) == 3
    assert [(one.number, one.process) for one in read_marks(path)] == [
        (7, os.getpid()),
        (8, os.getpid()),
    ]


def test_a_drain_by_two_is_timed_from_when_both_have_started() -> None:
    """A process that starts a second later does not lower the rate of two."""
    early = [Mark(1, number, number * _SECOND_NS // 10) for number in range(30)]
    late = [Mark(2, 100 + number, _SECOND_NS + number * _SECOND_NS // 10) for number in range(20)]
    marks = sorted(early + late, key=lambda one: one.at_ns)

    drain = summarise_drain(marks, expected=50, processes=2)

    assert drain.jobs_per_s == pytest.approx(39 / 1.9)
    assert drain.smallest_share_percent == pytest.approx(40.0)
    assert (drain.missing, drain.duplicates) == (0, 0)


def test_a_drain_reports_what_is_missing_and_what_ran_twice() -> None:
    """Jobs that never ran and jobs that ran twice are both counted."""
    marks = [Mark(1, number, number) for number in (0, 1, 1, 3)]

    drain = summarise_drain(marks, expected=5, processes=1)

    assert (drain.missing, drain.duplicates) == (2, 1)


def test_a_worker_that_ran_nothing_has_no_share() -> None:
    """The smaller share of two is zero when only one left marks."""
    marks = [Mark(1, number, number) for number in range(10)]

    assert summarise_drain(marks, expected=10, processes=2).smallest_share_percent == 0.0


def test_an_empty_drain_is_all_missing() -> None:
    """No mark at all is a rate of zero, not an error."""
    drain = summarise_drain([], expected=10, processes=1)

    assert (drain.jobs_per_s, drain.missing) == (0.0, 10)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """The nearest rank is taken; nothing is interpolated."""
    assert percentile([float(one) for one in range(1, 101)], percent) == expected
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([], percent) == 0.0


def test_medians_take_each_figure_from_the_repetitions_that_have_it() -> None:
    """A figure that one repetition lacks does not spoil the others."""
    assert medians([{"a": 1.0}, {"a": 9.0, "b": 5.0}, {"a": 2.0}]) == {"a": 2.0, "b": 5.0}


def test_a_slope_is_fitted_over_all_points() -> None:
    """Two megabytes a second come out as two."""
    assert slope_per_s([0.0, 1.0, 2.0], [10.0, 12.0, 14.0]) == pytest.approx(2.0)
    assert slope_per_s([1.0], [5.0]) == 0.0


def _rows(drain: float) -> list[Row]:
    probe = {"exchange_jobs_per_s": 200_000.0, "insert_jobs_per_s": 300_000.0}
    return [
        Row("probe:sqlite-batch", "probe", medians=probe),
        Row("huey:default", "drain_1", medians={"jobs_per_s": 3_000.0}),
        Row("huey:fastest", "drain_1", medians={"jobs_per_s": 4_000.0}),
        Row("treadle:async", "drain_1", medians={"jobs_per_s": drain}),
    ]


@pytest.mark.parametrize(("drain", "expected"), [(50_000.0, True), (49_999.0, False)])
def test_a_drain_must_reach_a_quarter_of_the_probe(drain: float, *, expected: bool) -> None:
    """The bar moves with the probe of the same run."""
    first = verdicts(Results(_rows(drain)))[0]

    assert first.ok is expected


def test_treadle_is_held_against_the_faster_huey() -> None:
    """Of Huey's variants the best one sets the bar."""
    second = verdicts(Results(_rows(39_999.0)))[1]

    assert (second.wanted, second.ok) == ("at least 40,000 jobs/s", False)


def test_what_was_not_measured_never_passes() -> None:
    """Without figures every verdict is open."""
    assert {one.ok for one in verdicts(Results([]))} == {None}


def _report(rows: list[Row]) -> Report:
    return Report(
        format=FORMAT,
        date="2026-01-01T00:00:00+00:00",
        mode="quick",
        seconds=1.0,
        commit={"id": "none", "changed": True},
        machine={"cores": 2},
        rows=rows,
        verdicts=verdicts(Results(rows)),
    )


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """The data file holds the whole report."""
    report = _report([*_rows(50_000.0), Row("dbos:default", "idle", error="it ended")])
    path = tmp_path / "results" / "run.json"

    write(report, path)

    assert read(path) == report
    assert [one.name for one in path.parent.iterdir()] == ["run.json"]


def test_the_tables_show_ratios_and_what_failed() -> None:
    """A ratio says how many times better treadle is, and a failure is not passed over."""
    rows = [
        *_rows(50_000.0),
        Row("huey:default", "latency", medians={"p50_ms": 50.0}),
        Row("treadle:async", "latency", medians={"p50_ms": 0.5}),
        Row("dbos:default", "idle", error="it ended with code 1"),
    ]

    text = table.render(_report(rows))

    ratios = next(
        line
        for line in text.splitlines()
        if line.startswith("| treadle:async against huey:default")
    )
    assert "16.67" in ratios
    assert "100.00" in ratios
    assert "dbos:default idle: it ended with code 1" in text


def test_a_selection_keeps_to_what_it_names() -> None:
    """Measures are named whole, systems by how they start, and naming none means all."""
    selection = Selection(["latency", "huey"])

    assert selection.has_measure("latency")
    assert not selection.has_measure("idle")
    assert selection.has_system("huey:default")
    assert not selection.has_system("dbos:default")
    assert selection.has_module("huey_sqlite")
    assert not selection.has_module("dbos_sqlite")
    assert Selection([]).has_measure("idle")
    assert Selection([]).has_system("dbos:default")


@_needs_proc
def test_a_process_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """A child that outlives a polite stop of its parent is killed with it."""
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid) + '\\n')\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    noted = tmp_path / "child"

    with started(command, env=os.environ, cwd=tmp_path, log=tmp_path / "log") as running:
        wait_until(
            lambda: noted.exists() and noted.read_text().endswith("\n"),
            timeout_s=10,
            what="the child's id",
            workers=[running],
        )
        assert running.cost().processes == 2

    wait_until(lambda: not _lives(int(noted.read_text())), timeout_s=5, what="end of the child")
    assert running.process.returncode is not None


def _lives(process: int) -> bool:
    """Say whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_program_that_fails_says_so_with_its_output(tmp_path: Path) -> None:
    """The error of a failed program holds its exit code and the end of what it printed."""
    command = [sys.executable, "-c", "print('before the end'); raise SystemExit(3)"]

    with pytest.raises(BenchError, match=r"code 3:\nbefore the end"):
        run_json(command, env=os.environ, cwd=tmp_path, log=tmp_path / "log", timeout_s=10)


def test_the_answer_of_a_program_is_its_last_line(tmp_path: Path) -> None:
    """What a library prints before does not matter."""
    command = [sys.executable, "-c", "print('noise'); print('{\"count\": 3}')"]

    answer = run_json(command, env=os.environ, cwd=tmp_path, log=tmp_path / "log", timeout_s=10)

    assert answer == {"count": 3}


def test_waiting_ends_when_a_worker_does(tmp_path: Path) -> None:
    """Nobody waits for marks of a worker that is gone."""
    command = [sys.executable, "-c", "raise SystemExit(4)"]
    start = time.monotonic()

    with (
        started(command, env=os.environ, cwd=tmp_path, log=tmp_path / "log") as running,
        pytest.raises(BenchError, match="ended with code 4"),
    ):
        wait_until(lambda: False, timeout_s=60, what="nothing", workers=[running])

    assert time.monotonic() - start < 30


def test_a_drain_that_does_not_end_tells_how_far_it_is_and_where_its_worker_stands(
    tmp_path: Path,
) -> None:
    """So that one which stands still is told from one that is slow, and why."""
    script = (
        "import faulthandler, signal, time\n"
        "faulthandler.register(signal.SIGUSR1)\n"
        "print('ready', flush=True)\n"
        "def stands_still():\n"
        "    time.sleep(60)\n"
        "stands_still()\n"
    )
    command, log = [sys.executable, "-c", script], tmp_path / "log"
    ours = cast("System", SimpleNamespace(name="treadle:async", ours=True))
    place = Site(ours, tmp_path, "sqlite:///jobs.db")

    with started(command, env=os.environ, cwd=tmp_path, log=log) as running:
        wait_until(lambda: "ready" in log.read_text(), timeout_s=10, what="the program")
        with pytest.raises(TimedOutError) as caught:
            wait_for_jobs(place, 7, limit_s=0.1, what="7 jobs run", workers=[running])

    assert "treadle:async: 7 jobs run did not happen" in str(caught.value)
    assert "0 of 7 jobs had run, and 0 more in the next second" in str(caught.value)
    assert "in stands_still" in str(caught.value)
