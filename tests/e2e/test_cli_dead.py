"""`treadle dead`: ls, groups, replay, discard."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.e2e.cli_kit import fill, invoke, store_url

NO_JOB = "0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77"


def _dead(folder: Path, *args: str, answer: str | None = None) -> Result:
    return invoke("dead", *args, "--store", store_url(folder), answer=answer)


def _states(folder: Path) -> dict[str, str]:
    result = invoke("jobs", "ls", "--json", "--store", store_url(folder))
    return {row["id"]: row["state"] for row in json.loads(result.stdout)["jobs"]}


def test_ls_shows_what_they_died_of(tmp_path: Path) -> None:
    """Each dead letter has its reason and its error; what ended well is not among them."""
    _, broken, rejected = fill(tmp_path, [("ok", 1), ("broken", "why"), ("reject", "not ours")])
    lines = _dead(tmp_path, "ls").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", rejected.id, broken.id]
    assert "not ours" in lines[1]
    assert "exhausted  ValueError: why" in lines[2]


def test_ls_of_nothing_says_so(tmp_path: Path) -> None:
    """No dead letters is good news, and is said."""
    fill(tmp_path, [("ok", 1)])
    assert _dead(tmp_path, "ls").stdout == "No dead letters.\n"
    assert _dead(tmp_path, "ls", "--task", "x").stdout == "No dead letter is like that.\n"
    assert _dead(tmp_path, "groups").stdout == "No dead letters.\n"


def test_groups_counts_by_cause(tmp_path: Path) -> None:
    """Dead letters of one task with one cause are one row."""
    fill(tmp_path, [("broken", 1), ("broken", 2), ("reject", "no")])
    assert "2  broken  exhausted  ValueError" in _dead(tmp_path, "groups").stdout
    groups = json.loads(_dead(tmp_path, "groups", "--json").stdout)["groups"]
    assert sorted((row["task"], row["count"]) for row in groups) == [("broken", 2), ("reject", 1)]


def test_replay_by_id(tmp_path: Path) -> None:
    """A dead letter becomes ready; a job in another state and one that is none are problems."""
    ended, broken = fill(tmp_path, [("ok", 1), ("broken", 2)])
    result = _dead(tmp_path, "replay", broken.id, ended.id, NO_JOB)
    assert result.exit_code == 1
    assert result.stdout == f"{broken.id}  ready\n"
    assert f"{ended.id}  not done: it is succeeded and no dead letter" in result.stderr
    assert _states(tmp_path) == {broken.id: "ready", ended.id: "succeeded"}


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("--all", 4),
        ("--task broken", 3),
        ("--queue cards", 1),
        ("--reason exhausted --limit 2", 2),
        ("--all --limit 3", 3),
        ("--tag none", 0),
    ],
)
def test_replay_by_filter(tmp_path: Path, words: str, count: int) -> None:
    """A filter chooses dead letters, a limit the newest of them."""
    fill(tmp_path, [("broken", 1), ("broken", 2), ("broken", 3), ("reject", 4)])
    document = json.loads(_dead(tmp_path, "replay", "--json", *words.split()).stdout)
    assert document == {"count": count}
    assert list(_states(tmp_path).values()).count("ready") == count


def test_a_limit_takes_the_newest(tmp_path: Path) -> None:
    """With a limit the latest dead letters go first, as `dead ls` lists them."""
    old, new = fill(tmp_path, [("broken", 1), ("broken", 2)])
    assert _dead(tmp_path, "replay", "--all", "--limit", "1").stdout == (
        "1 dead letter made ready again.\n"
    )
    assert _states(tmp_path) == {new.id: "ready", old.id: "failed"}


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize("words", ["", "--limit 5", f"{NO_JOB} --all", f"{NO_JOB} --task x"])
def test_the_choice_must_be_one(tmp_path: Path, verb: str, words: str) -> None:
    """Nothing chosen, or ids beside a filter, is a mistake and changes nothing."""
    fill(tmp_path, [("broken", 1)])
    result = _dead(tmp_path, verb, *words.split())
    assert result.exit_code == 2
    assert list(_states(tmp_path).values()) == ["failed"]


def test_discard_asks(tmp_path: Path) -> None:
    """Deleting many asks first; an answer of no deletes nothing."""
    fill(tmp_path, [("broken", 1), ("broken", 2)])
    refused = _dead(tmp_path, "discard", "--all", answer="n\n")
    assert refused.exit_code == 1
    assert len(_states(tmp_path)) == 2
    assert _dead(tmp_path, "discard", "--all", answer="y\n").stdout == "2 dead letters deleted.\n"
    assert _states(tmp_path) == {}


def test_discard_by_id_does_not_ask(tmp_path: Path) -> None:
    """Naming the job is the answer."""
    (broken,) = fill(tmp_path, [("broken", 1)])
    result = _dead(tmp_path, "discard", broken.id)
    assert (result.exit_code, result.stdout) == (0, f"{broken.id}  discarded\n")
    assert _states(tmp_path) == {}
