"""`treadle gates`."""

import json
from pathlib import Path
from typing import Final

from click.testing import Result

from tests.e2e.cli_kit import invoke, run, store_url, write_project
from treadle import Concurrency, RateLimit, Treadle


def _call(folder: Path, *args: str) -> Result:
    return invoke(*args, "--store", store_url(folder))


def _gate(folder: Path, name: str) -> dict[str, object]:
    rows = json.loads(_call(folder, "gates", "ls", "--json").stdout)["gates"]
    [row] = [row for row in rows if row["name"] == name]
    assert isinstance(row, dict)
    return row


def _fill(folder: Path) -> None:
    app = Treadle(store_url(folder))

    @app.task(name="pay", limits=[Concurrency(3, name="stripe"), RateLimit("10/m")])
    def pay() -> None: ...

    app.gates.pause("stripe")
    pay.enqueue_many([()] * 2)
    app.gates.resume("stripe")
    app.close()


def test_gates_are_listed_with_what_they_bound(tmp_path: Path) -> None:
    """A row a gate: its limit, who runs and waits, and whether it is open."""
    _fill(tmp_path)
    _call(tmp_path, "gates", "pause", "stripe", "--note", "they are down")
    lines = _call(tmp_path, "gates", "ls").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["GATE", "LIMIT", "RUNNING", "OUTSIDE", "WAITING", "STATE"],
        ["pay/10/m", "10/60s", "-", "-", "0", "open"],
        ["stripe", "3", "0", "0", "0", "paused:", "they", "are", "down"],
    ]


def test_the_document_of_gates(tmp_path: Path) -> None:
    """Every key is there, whatever the kind of the gate."""
    _fill(tmp_path)
    row = _gate(tmp_path, "pay/10/m")
    assert list(row) == [
        *("name", "kind", "limit", "burst", "running", "room", "waiting", "paused"),
        *("opens_at", "note", "is_set", "holds", "asking", "breaker"),
    ]
    assert (row["kind"], row["burst"], row["room"], row["running"]) == ("rate", 10, 10, None)


def test_who_holds_a_gate_outside_jobs_is_shown(tmp_path: Path) -> None:
    """Beside what runs: of two places in use one is held by no job."""
    _fill(tmp_path)
    app = Treadle(store_url(tmp_path))
    with app.limit("stripe", Concurrency(3)).acquire():
        assert _call(tmp_path, "gates", "ls").stdout.splitlines()[2].split()[:4] == [
            *("stripe", "3", "1", "1"),
        ]
        row = _gate(tmp_path, "stripe")
        assert (row["running"], row["holds"], row["asking"]) == (1, 1, 0)
    app.close()


def test_no_gate_is_said(tmp_path: Path) -> None:
    """A store whose tasks have no limits has no gates."""
    Treadle(store_url(tmp_path)).queues.list()
    assert _call(tmp_path, "gates", "ls").stdout == "No job has named a gate of late.\n"


def test_pause_and_resume(tmp_path: Path) -> None:
    """Resume says whether it changed anything; a pause may end by itself."""
    _fill(tmp_path)
    assert _call(tmp_path, "gates", "pause", "stripe").stdout == "Gate stripe is paused.\n"
    assert _gate(tmp_path, "stripe")["paused"] is True
    assert _call(tmp_path, "gates", "resume", "stripe").stdout == "Gate stripe is not paused.\n"
    assert "as it was before" in _call(tmp_path, "gates", "resume", "stripe").stdout
    _call(tmp_path, "gates", "pause", "stripe", "--for", "1.5h")
    assert "paused, opens in 1 h" in _call(tmp_path, "gates", "ls").stdout


def test_set_and_reset(tmp_path: Path) -> None:
    """A number bounds what runs, a rate what starts; a reset follows the jobs again."""
    _fill(tmp_path)
    _call(tmp_path, "gates", "set", "pay/10/m", "5/s", "--burst", "2")
    row = _gate(tmp_path, "pay/10/m")
    assert (row["kind"], row["limit"], row["burst"], row["is_set"]) == ("rate", "5/1s", 2, True)
    _call(tmp_path, "gates", "set", "stripe", "7")
    assert _gate(tmp_path, "stripe")["limit"] == "7"
    assert "follows its jobs again" in _call(tmp_path, "gates", "reset", "stripe").stdout
    assert "was not set" in _call(tmp_path, "gates", "reset", "stripe").stdout


def test_a_sliding_window_is_set_and_shown(tmp_path: Path) -> None:
    """It has a kind of its own, no burst, and says in the list that it slides."""
    _fill(tmp_path)
    words = ("stripe", "10/m", "--sliding", "--change-kind")
    said = _call(tmp_path, "gates", "set", *words).stdout
    assert said == "Gate stripe is set to 10/m in a sliding window, whatever its jobs say.\n"
    row = _gate(tmp_path, "stripe")
    assert (row["kind"], row["limit"], row["burst"], row["room"]) == ("window", "10/60s", None, 10)
    assert "10/60s sliding (set)" in _call(tmp_path, "gates", "ls").stdout


def test_another_kind_of_limit_is_refused(tmp_path: Path) -> None:
    """The error names both kinds and what to write, and nothing changes until it is asked for."""
    _fill(tmp_path)
    refused = _call(tmp_path, "gates", "set", "pay/10/m", "5")
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    for part in ("(rate)", "(places)", "`10/m` on the command line", "--change-kind"):
        assert part in said
    row = _gate(tmp_path, "pay/10/m")
    assert (row["kind"], row["limit"], row["is_set"]) == ("rate", "10/60s", False)
    assert _call(tmp_path, "gates", "set", "pay/10/m", "5", "--change-kind").exit_code == 0
    assert _gate(tmp_path, "pay/10/m")["kind"] == "places"


def test_what_is_no_limit_is_refused(tmp_path: Path) -> None:
    """The error is one line that says what to write."""
    for words in (
        ("stripe", "10/x"),
        ("stripe", "many"),
        ("stripe", "0"),
        ("stripe", "5", "--burst", "2"),
        ("stripe", "5", "--sliding"),
        ("stripe", "10/m", "--sliding", "--burst", "2"),
        ("stripe", "20000/m", "--sliding"),
    ):
        refused = _call(tmp_path, "gates", "set", *words)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.stderr
        assert "Error: " in refused.stderr


def test_a_name_that_no_job_has_is_said(tmp_path: Path) -> None:
    """A slip in a name makes a gate of its own, so the answer tells; it may be meant."""
    _fill(tmp_path)
    said = _call(tmp_path, "gates", "pause", "strpe").stdout
    assert said == "Gate strpe is paused; no job has named it of late.\n"
    said = _call(tmp_path, "gates", "set", "strike", "5").stdout
    assert said.endswith("whatever its jobs say; no job has named it of late.\n")
    for name, known in (("other", False), ("stripe", True)):
        document = json.loads(_call(tmp_path, "gates", "pause", name, "--json").stdout)
        assert document["known"] is known


def test_a_task_is_paused_by_its_name(tmp_path: Path) -> None:
    """It needs no limits; a name that is no task's here is said, as it may be a slip."""
    _fill(tmp_path)
    write_project(tmp_path)
    assert run(tmp_path, "gates", "pause", "task:app.add").stdout == "Task app.add is paused.\n"
    said = run(tmp_path, "gates", "pause", "task:app.ad").stdout
    assert said == "Task app.ad is paused; no task of this name is known here.\n"
    assert _gate(tmp_path, "task:app.add")["paused"] is True
    said = run(tmp_path, "gates", "resume", "task:app.add").stdout
    assert said == "Task app.add is not paused.\n"
    refused = _call(tmp_path, "gates", "set", "task:mail", "5")
    assert refused.exit_code == 2
    assert "give the task limits=" in refused.stderr


KEYED: Final = """
from treadle import Switch, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(name="sync", limits=Switch(key="{account}"))
def sync(account: int) -> None: ...
"""


def test_a_key_of_a_task_is_paused(tmp_path: Path) -> None:
    """By the code that says what the key is of; without it the gate has the key in its name."""
    _fill(tmp_path)
    write_project(tmp_path, KEYED)
    said = run(tmp_path, "gates", "pause", "task:sync", "--key", "7", "--note", "no token").stdout
    assert said == "Task sync, key 7, is paused.\n"
    row = _gate(tmp_path, "sync/switch:7")
    assert (row["kind"], row["paused"], row["note"]) == ("switch", True, "no token")
    said = run(tmp_path, "gates", "resume", "task:sync", "--key", "7").stdout
    assert said == "Task sync, key 7, is not paused.\n"
    assert _gate(tmp_path, "sync/switch:7")["paused"] is False
    refused = run(tmp_path, "gates", "pause", "sync/switch", "--key", "7")
    assert refused.returncode == 2
    assert "'sync/switch:KEY'" in refused.stderr
    refused = run(tmp_path, "gates", "pause", "task:sink", "--key", "7")
    assert refused.returncode != 0
    assert "no task is registered under the name 'sink'" in refused.stderr
