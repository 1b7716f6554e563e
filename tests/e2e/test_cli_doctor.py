"""`treadle doctor`, and what a worker says at its start of a store that would lose jobs."""

import json
import logging
from pathlib import Path

import pytest
import redis

from tests.conformance.own_redis import needs_program
from tests.e2e.cli_kit import fill, invoke, store_url
from treadle import Treadle, Worker
from treadle.testing.servers import Redis, free_port


def test_all_is_well(tmp_path: Path) -> None:
    """Exit code 0, each thing that was looked at, and a sentence that sums it up."""
    fill(tmp_path, [("ok", 1)])
    done = invoke("doctor", "--store", store_url(tmp_path))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["LEVEL", "WHAT", "FOUND"]
    assert ["ok", "journal_mode", "wal"] in [line.split() for line in lines]
    assert lines[-1] == f"{store_url(tmp_path)}: nothing would lose jobs."


def test_a_document_for_programs(tmp_path: Path) -> None:
    """The worst level, and every finding with all of its keys."""
    fill(tmp_path, [("ok", 1)])
    (tmp_path / "jobs.db").chmod(0o644)
    document = json.loads(invoke("doctor", "--json", "--store", store_url(tmp_path)).stdout)
    assert document["worst"] == "note"
    assert document["store"] == store_url(tmp_path)
    first = document["findings"][0]
    assert (first["level"], first["name"], first["found"]) == ("note", "rights", "-rw-r--r--")
    assert all(set(f) == set(first) for f in document["findings"])


def test_a_job_that_no_worker_knows(tmp_path: Path) -> None:
    """A worker without its code met it: the task is named, and the command does not fail."""
    app = Treadle(store_url(tmp_path))
    app.enqueue("elsewhere.task")
    assert Worker(app, burst=True).run() == 0
    app.close()
    done = invoke("doctor", "--json", "--store", store_url(tmp_path))
    [found] = [f for f in json.loads(done.stdout)["findings"] if f["name"] == "unknown tasks"]
    assert (done.exit_code, found["level"]) == (0, "warning")
    assert found["found"] == "1 jobs of elsewhere.task"


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    """Exit code 2 and one line; nothing is made."""
    done = invoke("doctor", "--store", store_url(tmp_path))
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []
    away = invoke("doctor", "--store", f"redis://:s3cr3t@127.0.0.1:{free_port()}/0")
    assert away.exit_code == 2
    assert "s3cr3t" not in away.output


@needs_program
def test_a_worker_that_may_not_look_starts_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """With the rights of the guide alone: it warns of nothing that it has not seen, and works."""
    with Redis("--maxmemory-policy", "allkeys-lru") as server:
        rights = ("~{treadle:*", "resetchannels", "&{treadle:*", "+@all", "-@dangerous")
        with redis.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "shop", "on", ">s3cr3t", *rights)
        app = Treadle(f"redis://shop:s3cr3t@127.0.0.1:{server.port}/0")
        with caplog.at_level(logging.WARNING, logger="treadle.worker"):
            assert Worker(app, burst=True).run() == 0
        app.close()
    assert not [text for text in caplog.messages if "would lose jobs" in text]


@needs_program
def test_settings_that_lose_jobs_fail_the_command_and_are_warned_of_at_a_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Exit code 1; the worker says the same in a line for each, and starts and works."""
    with Redis("--maxmemory-policy", "allkeys-lru", "--appendfsync", "no") as server:
        done = invoke("doctor", "--store", server.url)
        assert done.exit_code == 1
        assert "2 findings would lose jobs" in done.stdout
        app = Treadle(server.url)

        @app.task(name="add")
        async def add(left: int, right: int) -> int:
            return left + right

        job = add.enqueue(1, 2)
        with caplog.at_level(logging.WARNING, logger="treadle.worker"):
            assert Worker(app, burst=True).run() == 0
        assert app.job(job.id).result() == 3
        app.close()
    warned = [text for text in caplog.messages if "would lose jobs" in text]
    assert [text.partition(": ")[2].partition(". ")[0] for text in warned] == [
        "maxmemory-policy is allkeys-lru",
        "appendfsync is no",
    ]
