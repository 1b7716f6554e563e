"""`treadle bench` and `treadle demo` as real processes, and the words for spans of time."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.cli_kit import fill, run, store_url
from treadle import Treadle
from treadle.cli.bench import NAMESPACE
from treadle.cli.view.text import cut, listed, relative, safe, shown_url, span, stamp

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_the_bench_prints_a_table(tmp_path: Path) -> None:
    """Each measure has its row, with the disk's fsync time beside them."""
    done = run(tmp_path, "bench", "--jobs", "200", "--concurrency", "10")
    assert done.returncode == 0, done.stderr
    measures = [re.split(r"  +", line)[0] for line in done.stdout.splitlines()[2:]]
    assert measures == [
        "MEASURE", "enqueue, one by one", "enqueue_many", "drain, no-op jobs",
        "enqueue to start, p50", "enqueue to start, p95", "fsync of this disk, p50",
    ]  # fmt: skip


def test_the_bench_leaves_a_given_store_as_it_was(tmp_path: Path) -> None:
    """On a store in use the bench keeps to a namespace of its own and deletes its jobs."""
    (job,) = fill(tmp_path, [("ok", 1)])
    done = run(tmp_path, "bench", "--jobs", "1100", "--json", "--store", store_url(tmp_path))
    figures = json.loads(done.stdout)
    assert figures["jobs"] == 1_100
    assert all(value for value in figures.values())
    for namespace, left in (("default", [job.id]), (NAMESPACE, [])):
        app = Treadle(store_url(tmp_path), namespace=namespace)
        try:
            assert [each.id for each in app.jobs()] == left
        finally:
            app.close()


def test_the_demo_ends_with_a_ledger(tmp_path: Path) -> None:
    """The demo loses no job, shows retried and dead ones, and leaves its store to look at."""
    done = run(tmp_path, "demo", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:2] for line in done.stdout.splitlines() if line}
    assert (rows["lost"], rows["retried"]) == (["0"], ["30"])
    assert [rows[name] for name in ("enqueued", "succeeded", "failed")] == [["400"], ["396"], ["4"]]
    assert done.stderr == ""
    (store,) = set(re.findall(r"sqlite:///\S+", done.stdout))
    listed_jobs = run(tmp_path, "dead", "ls", "--store", store)
    assert listed_jobs.stdout.count("has expired") == 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 ms"),
        (0.0001, "< 1 ms"),
        (0.9999, "1 s"),
        (1.5, "1.5 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    """A duration has at most two units."""
    assert span(seconds) == said


def test_relative_instants() -> None:
    """An age has one unit, for the past and for the time to come."""
    assert relative(NOW - timedelta(seconds=75), NOW) == "1 min ago"
    assert relative(NOW + timedelta(hours=5, minutes=3), NOW) == "in 5 h"
    assert relative(NOW, NOW) == "now"
    assert stamp(NOW) == "2026-01-02 03:04:05.678Z"


def test_foreign_text_is_made_safe() -> None:
    """Whatever steers a terminal is written out; letters of every script stay."""
    assert safe("gr\u00fc\u00dfe \u4f60") == "gr\u00fc\u00dfe \u4f60"
    assert safe("a\nb\x9b\u202e\u2028") == r"a\nb\x9b\u202e\u2028"
    assert safe("a\n\tb\r", lines=True) == "a\n\tb\\r"


def test_long_things_are_cut() -> None:
    """What is left out is counted."""
    assert cut("abcdef", 3) == "abc... (3 more characters)"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"


def test_a_password_is_not_shown() -> None:
    """The URL of a store may stand in a log that many can read."""
    assert shown_url("redis://me:secret@host:6379/1") == "redis://me:***@host:6379/1"
    assert shown_url("sqlite:///jobs.db") == "sqlite:///jobs.db"
