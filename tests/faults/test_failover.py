"""A failover of PostgreSQL: the primary dies under load, and its standby takes over.

Both servers are real, and treadle finds the one that takes writes by a URL that names both, as
any client of libpq does.
"""

import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.faults.far import LONG_S, FarScene
from tests.faults.scene import PATIENT, QUICK, finish, key_in
from treadle import JobState
from treadle.testing.proxy import Proxy
from treadle.testing.servers import NoServerError, Postgres

HOST = "127.0.0.1"
START_S = 20.0


class Standby(Postgres):
    """A copy of a running server that follows it, and may be made the primary."""

    def __init__(self, primary: int) -> None:
        """Take the port at which the primary answers."""
        self._primary = primary
        super().__init__()

    def _make(self) -> None:
        super()._make()  # For its folder, whose owner may be another user; what is in it goes.
        for path in self._data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        program = self._programs / "pg_basebackup"
        if not program.exists():
            self.stop()
            raise NoServerError(f"no {program}: these are the programs of a server alone")
        words = ["-h", HOST, "-p", str(self._primary), "-U", "treadle", "-D", str(self._data)]
        done = subprocess.run(
            [str(program), "-R", "-c", "fast", "--no-sync", *words],
            check=False, capture_output=True, cwd=self.folder, timeout=START_S,
            user=self.user, group=self.group,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def promote(self) -> None:
        """Make it the primary."""
        with psycopg.connect(self.url, autocommit=True) as db:
            assert db.execute("select pg_promote(true, 20)").fetchall() == [(True,)]


def follow(primary: Postgres, scene: FarScene) -> None:
    """Let the primary answer for a commit only once its standby has it, too."""
    with psycopg.connect(primary.url, autocommit=True) as db:
        db.execute("alter system set synchronous_standby_names = '*'")
        db.execute("select pg_reload_conf()")
        states = "select sync_state from pg_stat_replication"
        scene.until(lambda: db.execute(states).fetchall() == [("sync",)], "the standby follows")


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_synchronous_standby_that_takes_over_has_all_that_was_answered(tmp_path: Path) -> None:
    """No worker exits; nothing that was acknowledged is lost, and nothing is settled twice."""
    with Postgres() as primary, Standby(primary.port) as standby:
        hosts = f"{HOST}:{primary.port},{HOST}:{standby.port}"
        url = f"postgresql://treadle@{hosts}/postgres?target_session_attrs=read-write"
        with FarScene(tmp_path, url, QUICK | PATIENT).prepare() as scene:
            follow(primary, scene)
            workers = [scene.worker(), scene.worker()]
            scene.until(lambda: all(one.ready for one in workers), "the workers are ready")
            scene.enqueue("slow", *(f"s{n}" for n in range(400)), rest=(0.05,))
            ended = scene.unfinished() - 50
            scene.until(lambda: scene.unfinished() < ended, "they are in the midst of it")
            primary.kill()
            standby.promote()
            scene.enqueue("touch", *(f"p{n}" for n in range(100)))
            finish(scene, *workers, patience=40)


def replicated(primary: Postgres, standby: Standby) -> bool:
    """Tell whether the standby has all that the primary has written."""
    with psycopg.connect(primary.url) as db:
        [[end]] = db.execute("select pg_current_wal_lsn()::text").fetchall()
    with psycopg.connect(standby.url) as db:
        return db.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", (end,)).fetchall() == [
            (True,)
        ]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_asynchronous_standby_that_takes_over_loses_what_had_not_reached_it(
    tmp_path: Path,
) -> None:
    """Nothing of before is lost; the workers go on, also one that the new primary never knew."""
    with Postgres() as primary, Proxy(primary.port) as link, Standby(link.port) as standby:
        hosts = f"{HOST}:{primary.port},{HOST}:{standby.port}"
        url = f"postgresql://treadle@{hosts}/postgres?target_session_attrs=read-write"
        suspect = {"TREADLE_SUSPECT_AFTER": "15"}  # The first look may come before its first beat.
        with FarScene(tmp_path, url, QUICK | suspect).prepare() as scene:
            workers = [scene.worker()]
            scene.until(lambda: workers[0].ready, "the worker is ready")
            early = {f"e{n}" for n in range(200)}
            scene.enqueue("slow", *sorted(early), rest=(0.05,))
            scene.until(lambda: replicated(primary, standby), "the standby has every job")
            link.swallow()
            scene.enqueue("touch", *(f"l{n}" for n in range(100)))
            workers.append(scene.worker())
            scene.until(lambda: workers[1].ready, "a worker comes that the standby knows not")
            scene.enqueue("slow", *(f"m{n}" for n in range(8)), rest=(1.0,))
            scene.until(lambda: scene.started("m0"), "what comes late is done or runs", LONG_S)
            primary.kill()
            standby.promote()
            after = {f"a{n}" for n in range(100)}
            scene.enqueue("touch", *sorted(after))
            scene.until_done(LONG_S)
            for worker in workers:
                assert scene.stop(worker) == 0, worker.said
            assert {(one.state, one.crashes) for one in scene.records()} == {
                (JobState.SUCCEEDED, 0)
            }
            kept = {key_in(one.args) for one in scene.records()}
            assert kept == early | after
            assert all(scene.started(key) for key in kept)
