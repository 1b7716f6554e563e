"""`treadle schedules`: what is printed, and the documents."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.e2e.cli_kit import invoke, run, store_url, write_project
from treadle import Cron, Every, Treadle

LATER = "2026-01-10T00:00Z"
PROJECT = '''
"""A project with a schedule."""

from treadle import Cron, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Cron("30 2 * * *", tz="Europe/Paris"))
@app.task(name="night")
def night() -> None: ...
'''


def call(folder: Path, *args: str, answer: str | None = None) -> Result:
    """Run one of the commands on the store of a folder."""
    return invoke("schedules", *args, "--store", store_url(folder), answer=answer)


def document(folder: Path, *args: str) -> Any:  # noqa: ANN401 -- any JSON
    """Read what a command prints with `--json`."""
    return json.loads(call(folder, *args, "--json").stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a store of two schedules."""
    app = Treadle(store_url(tmp_path))

    @app.task(name="t")
    def t() -> None: ...

    app.schedules.add(Cron("0 9 * * mon-fri", tz="Europe/Paris"), "t", name="mornings")
    app.schedules.add(Every(3_600), "t", name="hourly", limit=5)
    app.close()
    return tmp_path


def test_a_list(folder: Path) -> None:
    """By name, in words, with what is special about each."""
    lines = call(folder, "ls").stdout.splitlines()
    assert lines[0].split() == ["SCHEDULE", "TASK", "WHEN", "NEXT", "FIRED"]
    assert lines[1].split()[:4] == ["hourly", "t", "every", "1:00:00"]
    assert lines[1].endswith("5 left")
    assert "at 09:00 on Mon-Fri (Europe/Paris)" in lines[2]
    assert len(document(folder, "ls", "--limit", "1")["schedules"]) == 1
    assert document(folder, "ls", "--after", "hourly")["schedules"][0]["name"] == "mornings"


def test_no_schedules(tmp_path: Path) -> None:
    """It says where they come from."""
    Treadle(store_url(tmp_path)).store  # noqa: B018 -- makes the file
    assert "stored when a worker starts" in call(tmp_path, "ls").stdout


def test_pause_and_resume(folder: Path) -> None:
    """The note and its author are shown to whoever looks next."""
    said = call(folder, "pause", "hourly", "--note", "moving house", "--by", "ada").stdout
    assert said == "Schedule hourly is paused.\n"
    assert "paused by ada: moving house" in call(folder, "ls").stdout
    row = document(folder, "pause", "hourly", "--note", "still", "--by", "bob")
    assert (row["paused"]["note"], row["paused"]["by"], row["next"]) == ("still", "bob", None)
    assert "goes on; its next tick: " in call(folder, "resume", "hourly").stdout


def test_a_preview(folder: Path) -> None:
    """Ticks on the face of the zone's clock."""
    lines = call(folder, "preview", "mornings", "--count", "2").stdout.splitlines()
    assert lines[0] == "mornings: at 09:00 on Mon-Fri (Europe/Paris)"
    assert len(lines) == 4
    assert "09:00:00" in lines[2]
    ticks = document(folder, "preview", "mornings")["ticks"]
    assert len(ticks) == 10
    assert all("T09:00:00" in tick["at"] and tick["mark"] == "" for tick in ticks)


def test_trigger_skip_and_backfill(folder: Path) -> None:
    """What they did is said, with the job's id and where to go on."""
    job = call(folder, "trigger", "hourly").stdout.strip()
    assert document(folder, "ls")["schedules"][0]["last_job"] == job
    assert "skips 2 ticks; its next tick" in call(folder, "skip", "hourly", "--count", "2").stdout
    span = ("--from", "2026-01-05T00:00Z", "--to", "2026-01-10T00:00+00:00")
    assert call(folder, "backfill", "mornings", *span).stdout == "5 jobs made, 0 there already.\n"
    assert document(folder, "backfill", "mornings", *span)["there"] == 5
    part = call(folder, "backfill", "hourly", *span, "--limit", "3").stdout
    assert "3 jobs made, 0 there already; there is more: --from 2026-01-05T" in part


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("pause", "none"), "no schedule is called 'none'"),
        (("trigger", "none"), "no schedule is called 'none'"),
        (("backfill", "hourly", "--from", "monday", "--to", "2026-01-10T00:00Z"), "Invalid isofor"),
        (
            ("backfill", "hourly", "--from", "2026-01-10", "--to", "2026-01-10T00:00Z"),
            "no time zone",
        ),
        (
            ("backfill", "hourly", "--from", "2026-01-10T00:00Z", "--to", "2026-01-09T00:00Z"),
            "is before the start",
        ),
        (("declare",), "this needs the code that declares them"),
    ],
)
def test_mistakes(folder: Path, words: tuple[str, ...], why: str) -> None:
    """They end with code 2 and a line that says what to write."""
    result = call(folder, *words)
    assert result.exit_code == 2
    assert why in result.output


def test_remove(folder: Path) -> None:
    """It asks first, and says no more than that it was done."""
    assert call(folder, "remove", "hourly", answer="n\n").exit_code == 1
    assert call(folder, "remove", "hourly", answer="y\n").stdout.endswith("is removed.\n")
    assert document(folder, "remove", "mornings", "--yes") == {
        "schedule": "mornings",
        "removed": True,
    }


def test_declare_stores_what_the_code_says(tmp_path: Path) -> None:
    """The diff is printed; the second time there is nothing to change."""
    write_project(tmp_path, PROJECT)
    first = run(tmp_path, "schedules", "declare")
    assert first.stdout == "added: night\n"
    assert run(tmp_path, "schedules", "declare").stdout == "nothing to change\n"
    said = json.loads(run(tmp_path, "schedules", "declare", "--json").stdout)
    assert said == {"added": [], "changed": [], "removed": [], "left_alone": ""}
    assert "at 02:30 (Europe/Paris)" in run(tmp_path, "schedules", "ls").stdout
