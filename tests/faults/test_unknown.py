"""A job whose task no worker here knows: handed back unspent, visible, and not for ever."""

from treadle import Treadle
from treadle.core.durations import DAY, SECOND
from treadle.under_test import Kit

REST_S = 30
NAME = "elsewhere.task"


def row(kit: Kit, job_id: str) -> tuple[str, int, str | None]:
    """Read what the store says of the job: state, attempt and reason."""
    record = kit.app.job(job_id).record()
    return (record.state, record.attempt, record.reason)


def test_it_is_handed_back_for_a_while_without_an_attempt() -> None:
    """It rests 30 s at a time, its reason says why, and no attempt is spent."""
    app = Treadle("memory://")
    with app.testing() as kit:
        id_ = app.enqueue(NAME, 1).id
        for _ in range(5):
            before = kit.clock.wall()
            kit.drain(within=0)
            assert row(kit, id_) == ("scheduled", 0, "unknown_task")
            record = app.job(id_).record()
            assert record.run_at == before + REST_S * SECOND
            kit.move(REST_S)
        [found] = app.jobs(reason="unknown_task")
        assert NAME in found.explain()


def test_a_worker_that_knows_the_task_takes_it_at_once() -> None:
    """It does not wait for the rest of its 30 s when its code arrives."""
    app = Treadle("memory://")
    with app.testing() as kit:
        id_ = app.enqueue(NAME, 20).id
        kit.drain(within=0)
        _register(app)
        before = kit.now
        assert kit.drain(within=0) == 1
        assert (kit.now, app.job(id_).result()) == (before, 21)
        assert app.job(id_).attempt == 1


def _register(app: Treadle) -> None:
    @app.task(name=NAME)
    def task(n: int) -> int:
        return n + 1


def test_after_a_day_it_is_a_dead_letter() -> None:
    """Nobody came for 24 h: it fails with a reason of its own, and can be replayed."""
    app = Treadle("memory://")
    with app.testing() as kit:
        id_ = app.enqueue(NAME, 1).id
        kit.drain(within=0)
        kit.move(DAY / SECOND - 1)
        kit.drain(within=0)
        assert row(kit, id_) == ("scheduled", 0, "unknown_task")
        kit.move(REST_S)
        kit.drain(within=0)
        assert row(kit, id_)[::2] == ("failed", "unknown_task")
        _register(app)
        assert app.job(id_).retry()
        assert kit.drain() == 1
        assert app.job(id_).result() == 2


def test_others_do_not_wait_for_it() -> None:
    """A job that nobody knows stands in no known one's way."""
    app = Treadle("memory://")

    @app.task(name="known")
    def known() -> None: ...

    with app.testing() as kit:
        for _ in range(50):
            app.named(NAME).using(priority=100).enqueue(1)
        job = known.enqueue()
        assert kit.drain(within=0) == 1
        assert job.refresh().state == "succeeded"
