"""A reader that stays open keeps SQLite's log from being written back; its room is given back."""

import contextlib
import sqlite3
from pathlib import Path

from tests.faults.scene import Scene
from treadle.store.sqlite.engine.pool import LOG_MAX

PAYLOAD = "x" * 200_000


def test_a_log_that_grew_beside_a_long_reader_shrinks_when_it_ends(tmp_path: Path) -> None:
    """Jobs go on beside it; after it the next ones cut the log to its usual size."""
    with Scene(tmp_path).prepare() as scene:
        log = scene.file.with_name(f"{scene.file.name}-wal")
        worker = scene.worker()
        scene.until(lambda: worker.ready, "the worker is ready")
        app = scene.app()
        with contextlib.closing(sqlite3.connect(scene.file, isolation_level=None)) as reader:
            reader.execute("begin")
            reader.execute("select count(*) from treadle_jobs").fetchall()
            while log.stat().st_size <= 1.5 * LOG_MAX:
                app.named("old").enqueue_many([(PAYLOAD,)] * 10)
            scene.enqueue("touch", *(f"beside{n}" for n in range(20)))
            scene.until(lambda: scene.started("beside19"), "jobs go on beside it")
            assert log.stat().st_size > LOG_MAX
        scene.query("delete from treadle_jobs where task = 'old'")

        def shrunk() -> bool:
            app.enqueue("touch", f"after{len(scene.ledger.entries())}")
            return log.stat().st_size <= LOG_MAX

        scene.until(shrunk, "the log is as small as before")
        app.close()
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
