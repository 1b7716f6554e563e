"""`treadle jobs`: ls, show, explain, logs, cancel, retry."""

import json
import re
from pathlib import Path

import pytest
from click.testing import Result

from tests.e2e.cli_kit import PROJECT, fill, invoke, run, store_url, write_project
from treadle import Job, Treadle, Unique
from treadle.cli.view.tables import WIDE, jobs_table

NO_JOB = "0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77"


def _jobs(folder: Path, *args: str) -> Result:
    return invoke("jobs", *args, "--store", store_url(folder))


def test_ls_shows_whole_ids_newest_first(tmp_path: Path) -> None:
    """Ids are printed whole, because people copy them."""
    first, second = fill(tmp_path, [("ok", 1), ("broken", 2)])
    result = _jobs(tmp_path, "ls")
    rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    assert rows[0] == ["ID", "STATE", "TASK", "QUEUE", "ATTEMPT", "WHEN"]
    assert [row[:4] for row in rows[1:]] == [
        [second.id, "failed", "broken", "default"],
        [first.id, "succeeded", "ok", "default"],
    ]
    assert [row[4] for row in rows[1:]] == ["1/1", "1/5"]


def test_a_narrow_terminal_gets_no_queues(tmp_path: Path) -> None:
    """Where not everything has room the queue goes, never a part of the id."""
    jobs = fill(tmp_path, [("ok", 1)])
    headings = [column.header for column in jobs_table(jobs, WIDE - 1).columns]
    assert headings == ["ID", "STATE", "TASK", "ATTEMPT", "WHEN"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--state failed", ["broken", "reject"]),
        ("--queue cards", ["reject"]),
        ("--task ok", ["ok"]),
        ("--tag none", []),
        ("--limit 1", ["reject"]),
    ],
)
def test_ls_takes_filters(tmp_path: Path, words: str, found: list[str]) -> None:
    """Jobs can be chosen by state, queue, task and tag."""
    fill(tmp_path, [("ok", 1), ("broken", 2), ("reject", 3)])
    document = json.loads(_jobs(tmp_path, "ls", "--json", *words.split()).stdout)
    assert sorted(row["task"] for row in document["jobs"]) == found


def test_ls_pages_through(tmp_path: Path) -> None:
    """`--before` with the last id of a page gives the next one, and the last has no more."""
    jobs = fill(tmp_path, [("ok", number) for number in range(3)])
    first = json.loads(_jobs(tmp_path, "ls", "--json", "--limit", "2").stdout)
    rest = _jobs(tmp_path, "ls", "--json", "--limit", "2", "--before", first["before"])
    second = json.loads(rest.stdout)
    ids = [row["id"] for page in (first, second) for row in page["jobs"]]
    assert ids == [job.id for job in reversed(jobs)]
    assert second["before"] is None


def test_ls_says_how_to_go_on(tmp_path: Path) -> None:
    """A full page names the option for the next one, apart from the table."""
    jobs = fill(tmp_path, [("ok", 1), ("ok", 2)])
    result = _jobs(tmp_path, "ls", "--limit", "1")
    assert f"--before {jobs[1].id}" in result.stderr


def test_ls_of_nothing_says_so(tmp_path: Path) -> None:
    """An empty table would look like a fault."""
    fill(tmp_path, [])
    assert _jobs(tmp_path, "ls").stdout == "No job is stored.\n"
    assert _jobs(tmp_path, "ls", "--task", "x").stdout == "No job is like that.\n"


def test_the_document_of_a_list_has_stable_keys(tmp_path: Path) -> None:
    """Ids are text, instants ISO 8601 in UTC, and keys stay when values are missing."""
    (job,) = fill(tmp_path, [("ok", 1)])
    (row,) = json.loads(_jobs(tmp_path, "ls", "--json").stdout)["jobs"]
    assert list(row) == [
        "id", "task", "queue", "state", "priority", "attempt", "attempts_max", "created_at",
        "run_at", "started_at", "finished_at", "expires_at", "worker", "key", "reason", "error",
        "tags", "as_of",
    ]  # fmt: skip
    assert row["id"] == job.id
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row["created_at"])


def test_show_tells_everything(tmp_path: Path) -> None:
    """A failed job is shown with its story, attempt, arguments, error and traceback."""
    (job,) = fill(tmp_path, [("broken", "the pump")])
    text = _jobs(tmp_path, "show", job.id).stdout
    assert f"broken  {job.id}  failed" in text
    assert "  Why: Its last attempt failed and none is left." in text
    assert re.search(r"1  20\d\d-\S+ \S+Z +\S.*? +failed +\S+:\d+:\w+ +ValueError: the pump", text)
    assert '"the pump"' in text
    assert "Traceback (most recent call last):" in text


def test_show_prints_result_and_log(tmp_path: Path) -> None:
    """A job that ended well is shown with what it returned and logged."""
    (job,) = fill(tmp_path, [("ok", {"b": [1, 2]})])
    text = _jobs(tmp_path, "show", job.id).stdout
    assert 'Result\n  {\n    "b": [\n      1,\n      2\n    ]\n  }\n' in text
    assert re.search(r"Log\n  20\d\d-.*Z  #1  info     got \{'b': \[1, 2\]\}\n", text)


def test_a_large_result_is_cut(tmp_path: Path) -> None:
    """A large value does not scroll the rest away; the document has all of it."""
    (job,) = fill(tmp_path, [("ok", "x" * 9_000)])
    text = _jobs(tmp_path, "show", job.id).stdout
    assert "more characters)" in text
    assert len(text) < 15_000
    document = json.loads(_jobs(tmp_path, "show", job.id, "--json").stdout)
    assert document["result"] == "x" * 9_000


def test_the_document_of_a_job_has_its_attempts(tmp_path: Path) -> None:
    """`show --json` holds the attempts with times, worker, outcome and error."""
    (job,) = fill(tmp_path, [("broken", "why")])
    document = json.loads(_jobs(tmp_path, "show", job.id, "--json").stdout)
    (attempt,) = document["attempts"]
    assert list(attempt) == [
        "number", "worker", "started_at", "finished_at", "outcome", "ran", "error",
    ]  # fmt: skip
    assert attempt["error"]["message"] == "why"
    assert (document["args"], document["kwargs"], document["result"]) == (["why"], {}, None)


def test_what_a_job_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Escapes in arguments and messages are printed as text, and markup is not read."""
    (job,) = fill(tmp_path, [("broken", "\x1b[2J[bold]\r\u202e")])
    for args in (["show", job.id], ["explain", job.id], ["ls"]):
        output = _jobs(tmp_path, *args).output
        assert not set(output) & {"\x1b", "\r", "\u202e"}
    dead = invoke("dead", "ls", "--store", store_url(tmp_path)).stdout
    assert r"\x1b[2J[bold] \u202e" in dead


def test_a_shortened_id_is_refused() -> None:
    """What begins like one id today may begin like two tomorrow."""
    result = invoke("jobs", "show", "0190a2c4")
    assert result.exit_code == 2
    assert "give the whole id" in result.stderr


def test_an_unknown_job_is_one_line(tmp_path: Path) -> None:
    """A job that is not stored ends with exit code 2 and no traceback."""
    fill(tmp_path, [])
    result = _jobs(tmp_path, "show", NO_JOB)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"no job has the id {NO_JOB}" in result.stderr


def test_explain_and_logs_print_what_the_job_has(tmp_path: Path) -> None:
    """Both print text for a person and a document for a program."""
    (job,) = fill(tmp_path, [("ok", 1)])
    assert "State: succeeded" in _jobs(tmp_path, "explain", job.id).stdout
    assert (
        "State: succeeded"
        in json.loads(_jobs(tmp_path, "explain", job.id, "--json").stdout)["explain"]
    )
    assert _jobs(tmp_path, "logs", job.id).stdout.endswith("#1  info     got 1\n")
    (line,) = json.loads(_jobs(tmp_path, "logs", job.id, "--json").stdout)["lines"]
    assert (line["attempt"], line["level"], line["text"]) == (1, "info", "got 1")


def _waiting(folder: Path) -> Job[object]:
    app = Treadle(store_url(folder))
    try:
        return app.named("elsewhere").using(delay=3600).enqueue()
    finally:
        app.close()


def test_cancel_reports_each_job(tmp_path: Path) -> None:
    """Each job has its line; exit code 1 when one of them could not be cancelled."""
    (ended,) = fill(tmp_path, [("ok", 1)])
    waiting = _waiting(tmp_path)
    result = _jobs(tmp_path, "cancel", waiting.id, ended.id, NO_JOB)
    assert result.exit_code == 1
    assert result.stdout == f"{waiting.id}  cancelled\n"
    assert f"{ended.id}  not done: it is succeeded and has ended already\n" in result.stderr
    assert f"{NO_JOB}  not done: no job has the id" in result.stderr
    assert "1 of 3 jobs done" in result.stderr


def test_cancel_prints_a_document(tmp_path: Path) -> None:
    """The document says of each job whether it was done, its state and the problem."""
    waiting = _waiting(tmp_path)
    result = _jobs(tmp_path, "cancel", waiting.id, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["results"] == [
        {"id": waiting.id, "done": True, "state": "cancelled", "problem": None}
    ]


def test_retry_makes_ended_jobs_ready(tmp_path: Path) -> None:
    """A dead letter and a waiting job become ready; a succeeded one is left alone."""
    failed, succeeded = fill(tmp_path, [("broken", 1), ("ok", 2)])
    waiting = _waiting(tmp_path)
    result = _jobs(tmp_path, "retry", failed.id, waiting.id)
    assert result.exit_code == 0
    assert result.stdout == f"{failed.id}  ready\n{waiting.id}  ready\n"
    refused = _jobs(tmp_path, "retry", succeeded.id)
    assert refused.exit_code == 1
    assert "it is succeeded and is left alone" in refused.stderr


def test_the_application_of_the_folder_is_found(tmp_path: Path) -> None:
    """Without options the store is that of the application in app.py."""
    write_project(tmp_path)
    made = run(tmp_path, "enqueue", "app.add", "1")
    listed = run(tmp_path, "jobs", "ls")
    assert made.stdout.strip() in listed.stdout


def test_the_environment_is_the_weaker_voice(tmp_path: Path) -> None:
    """TREADLE_APP wins over TREADLE_STORE, and --store over both."""
    write_project(tmp_path)
    write_project(tmp_path, PROJECT.replace("jobs.db", "other.db"), "second.py")
    run(tmp_path, "enqueue", "second.add", "1", TREADLE_APP="second:app")
    variables = {"TREADLE_APP": "second", "TREADLE_STORE": "sqlite:///none.db"}
    by_app = run(tmp_path, "jobs", "ls", **variables)
    assert "second.add" in by_app.stdout
    by_store = run(tmp_path, "jobs", "ls", "--store", "sqlite:///missing.db", **variables)
    assert "missing.db does not exist" in by_store.stderr


def test_the_default_store_is_used_without_an_application(tmp_path: Path) -> None:
    """In a folder without code the store is the one that `Treadle()` would take."""
    result = run(tmp_path, "jobs", "ls")
    assert result.returncode == 2
    assert "treadle.db does not exist" in result.stderr


def test_a_folder_whose_code_has_no_application_is_explained(tmp_path: Path) -> None:
    """The message offers both ways out: name the application, or the store."""
    write_project(tmp_path, "value = 1\n", "main.py")
    result = run(tmp_path, "jobs", "ls")
    assert result.returncode == 2
    assert "write --app module:app" in result.stderr
    assert "Or name the store: --store URL" in result.stderr


def test_a_job_whose_key_another_one_holds_is_not_put_back(tmp_path: Path) -> None:
    """The refusal says where to look, and the story there names the job that holds the key."""
    app = Treadle(store_url(tmp_path))
    task = app.named("ok").using(unique=Unique())
    first = task.enqueue(1)
    first.cancel()
    second = task.enqueue(1)
    app.close()
    refused = _jobs(tmp_path, "retry", first.id)
    assert refused.exit_code == 1
    assert f"`treadle jobs explain {first.id}`" in refused.stderr
    story = _jobs(tmp_path, "explain", first.id).stdout
    assert f"which job {second.id} holds by now" in story
    shown = _jobs(tmp_path, "show", second.id).stdout
    assert "Key: it holds 'unique:ok:" in shown
    assert re.search(r"key +unique:ok:[0-9a-f]{64}", shown)
