"""`treadle enqueue`: how words of a shell become a job."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.e2e.cli_kit import invoke, run, store_url, write_project


def _enqueue(folder: Path, *args: str) -> Result:
    return invoke("enqueue", "--store", store_url(folder), *args)


def _stored(folder: Path, result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    shown = invoke("jobs", "show", "--json", "--store", store_url(folder), result.stdout.strip())
    document = json.loads(shown.stdout)
    assert isinstance(document, dict)
    return document


def test_arguments_are_json_where_they_can_be(tmp_path: Path) -> None:
    """A number, a list and a quoted number are read as JSON, anything else is text."""
    words = ["12", "1.5", "true", "null", '["a"]', '"12"', "plain words", "{not json"]
    job = _stored(tmp_path, _enqueue(tmp_path, "mail.send", *words))
    assert job["args"] == [12, 1.5, True, None, ["a"], "12", "plain words", "{not json"]
    assert (job["task"], job["state"], job["queue"]) == ("mail.send", "ready", "default")


def test_keywords_and_options(tmp_path: Path) -> None:
    """Keywords, queue, priority and delay reach the job."""
    words = "--kw count=2 --kw to=a=b --queue mail --priority 7 --delay 2h"
    job = _stored(tmp_path, _enqueue(tmp_path, "mail.send", *words.split()))
    assert job["kwargs"] == {"count": 2, "to": "a=b"}
    assert (job["queue"], job["priority"], job["state"]) == ("mail", 7, "scheduled")


def test_arguments_that_begin_with_a_dash(tmp_path: Path) -> None:
    """After `--` a dash begins no option."""
    assert _stored(tmp_path, _enqueue(tmp_path, "t", "--", "-5", "--x"))["args"] == [-5, "--x"]


def test_a_document_of_the_job(tmp_path: Path) -> None:
    """`--json` gives id, task, queue and state."""
    row = json.loads(_enqueue(tmp_path, "t", "--json").stdout)
    assert list(row) == ["id", "task", "queue", "state"]
    assert row["state"] == "ready"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["t", "--json-args", "word"], "is not JSON"),
        (["t", "--kw", "novalue"], "--kw takes KEY=VALUE"),
        (["t", "--kw", "not-a-name=1"], "--kw takes KEY=VALUE"),
        (["t", "--delay", "soon"], "is no duration"),
        (["t", "--delay", "-5"], "is no duration"),
        (["t", "--priority", "101"], "101"),
        (["t", "--queue", "a b"], "is not a queue name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_stored(
    tmp_path: Path, words: list[str], said: str
) -> None:
    """A mistake ends with exit code 2 before the store is touched."""
    result = _enqueue(tmp_path, *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_code_checks_the_call(tmp_path: Path) -> None:
    """With the application at hand a wrong call is refused here, not by the worker."""
    write_project(tmp_path)
    made = run(tmp_path, "enqueue", "app.add", "1", "--kw", "right=2")
    assert made.returncode == 0
    assert "app.add is ready in queue default of sqlite:///jobs.db" in made.stderr
    for words, said in (
        (["app.add"], "left"),
        (["app.add", "one"], "left"),
        (["app.add", "1", "--kw", "middle=2"], "middle"),
        (["app.ad", "1"], "did you mean: app.add"),
        (["add", "1"], "did you mean: app.add"),
    ):
        refused = run(tmp_path, "enqueue", *words)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_a_named_task_takes_its_own_queue(tmp_path: Path) -> None:
    """With the code at hand the task's own options hold."""
    write_project(tmp_path)
    made = run(tmp_path, "enqueue", "app.hold", "0.1", "--json", TREADLE_APP="app")
    assert json.loads(made.stdout)["queue"] == "slow"
