"""The examples do what they say.

Most are put under test in this process; those that are about processes are run as a person
would run them. The large example, `examples/orders`, has its test in `tests/e2e/test_demo.py`.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from examples.idioms import (
    i02_every,
    i03_cron,
    i05_delay,
    i06_retry_later,
    i08_enqueue,
    i09_hourly_script,
    i10_backoff,
    i11_i12_idempotency_key,
    i13_lock,
    i21_autoretry,
    i22_countdown,
    i23_result,
    i24_worker_settings,
    i26_dead_letter_alert,
    i30_i36_status,
    i31_time_limits,
    i32_declined,
    i33_charge_once,
    i35_webhook,
    i41_defaults,
    i42_delays,
    i43_rate_limit,
    i44_job_options,
    i45_exactly_once,
    i46_skip_running,
    i47_replay,
    i48_beat,
    i49_persistent,
    i51_thread,
    i55_nightly,
)
from treadle import DuplicateJob, Job, JobFailed, Treadle
from treadle.testing import enqueued

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
IDIOMS: Final = EXAMPLES / "idioms"


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """Give an address at which every connection is refused: it is bound, nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    """Give an address at which connections are taken."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()


def run(folder: Path, home: Path, *words: str) -> str:
    """Run a program of the examples in an empty folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=home,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def work(folder: Path, home: Path, app: str, *words: str) -> str:
    """Run a worker until nothing is left; return what its tasks printed."""
    return run(folder, home, "-m", "treadle", "worker", app, "--burst", *words)


def gaps(job: Job[None]) -> list[float]:
    """Give the seconds between the attempts of a job."""
    starts = [attempt.started_at.timestamp() for attempt in job.attempts()]
    return [later - earlier for earlier, later in pairwise(starts)]


def test_every_idiom_is_named_by_its_number() -> None:
    """The docstring of each file begins with the numbers in its name, and each file is tested."""
    tested = Path(__file__).read_text(encoding="utf-8")
    files = sorted(IDIOMS.glob("*.py"))
    assert len(files) >= 19
    for file in files:
        numbers = [word[1:] for word in file.stem.split("_") if word[1:].isdigit()]
        head = file.read_text(encoding="utf-8").splitlines()[0]
        assert head.startswith('"""' + " and ".join(f"I-{number}" for number in numbers) + ", ")
        assert file.stem in tested, f"{file.name} has no test"


def test_quickstart(tmp_path: Path) -> None:
    """A worker in one process gives the result to the program in another."""
    words = [sys.executable, "-m", "treadle", "worker", "quickstart:app"]
    path = os.pathsep.join([str(EXAMPLES), *sys.path])
    environ = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(words, cwd=tmp_path, env=environ, stdout=log, stderr=log)
    try:
        printed = run(EXAMPLES, tmp_path, str(EXAMPLES / "quickstart.py"))
    finally:
        worker.terminate()
        code = worker.wait(20)
    assert printed.splitlines()[-1] == "sent to a@example.com"
    assert code == 0
    assert "sending 'hi' to a@example.com" in (tmp_path / "worker.log").read_text()


def tick_of(job: Job[None]) -> datetime:
    """Give the tick of a job that a schedule has made."""
    assert job.tick is not None
    return job.tick


def test_i02_a_task_runs_by_itself() -> None:
    """Every thirty seconds, once."""
    with i02_every.app.testing() as kit:
        assert kit.drain(within=300) == 10
    assert len(i02_every.app.declared) == 1


def test_i03_a_missed_night_is_made_up_for() -> None:
    """Two nights without a worker are one job in the morning."""
    with i03_cron.app.testing(start=datetime(2026, 3, 2, 12, tzinfo=UTC)) as kit:
        kit.drain(within=0)
        kit.move(2 * 86_400)
        assert kit.drain(within=0) == 1
        (job,) = enqueued(i03_cron.report)
        assert job.tick == datetime(2026, 3, 4, 2, tzinfo=UTC)


def test_i09_a_script_has_a_record_of_its_runs() -> None:
    """Each hour has a job with what the script printed."""
    with i09_hourly_script.app.testing() as kit:
        kit.drain(within=2 * 3600)
        jobs = enqueued(i09_hourly_script.run_script)
        assert [job.result() for job in jobs] == ["done\n"] * 2


def test_i48_three_rhythms() -> None:
    """Four a day, one a day with its arguments, and 288 of which none was late."""
    with i48_beat.app.testing(start=datetime(2026, 3, 2, 0, 1, tzinfo=UTC)) as kit:
        kit.drain(within=86_400)
        assert len(enqueued(i48_beat.sync)) == 4
        assert [job.result() for job in enqueued(i48_beat.digest)] == ["daily: 3 pages"]
        probes = enqueued(i48_beat.probe)
        assert len(probes) == 288
        assert {job.expires_at for job in probes} == {
            tick_of(job) + timedelta(minutes=5) for job in probes
        }


def test_i49_a_schedule_is_kept_and_replaced() -> None:
    """One plan a feed; of what was missed one job is made, unless it is too late."""
    with i49_persistent.app.testing() as kit:
        i49_persistent.plan("a", 3600)
        i49_persistent.plan("a", 60)
        assert [info.words for info in i49_persistent.app.schedules.list()] == ["every 0:01:00"]
        kit.move(600)
        assert kit.drain(within=0) == 1


def test_i55_midnight_comes_once_a_day() -> None:
    """Also on the days on which clocks change."""
    with i55_nightly.app.testing(start=datetime(2026, 3, 1, 12, tzinfo=UTC)) as kit:
        hours = []
        for _ in range(10):
            assert kit.drain(within=86_400) == 1
            hours.append(tick_of(enqueued(i55_nightly.clean_up)[-1]).hour)
    assert hours == [5] * 7 + [4] * 3


def test_i05_a_call_is_made_later() -> None:
    """The job has the function's result."""
    with i05_delay.app.testing() as kit:
        job = i05_delay.add.enqueue(1, 2)
        kit.drain()
        assert job.result() == 3


def test_i06_the_task_asks_for_its_retry(refusing: tuple[str, int]) -> None:
    """There are five more attempts, a minute apart, and then a dead letter."""
    with i06_retry_later.app.testing() as kit:
        job = i06_retry_later.ping.enqueue(*refusing)
        kit.drain()
        assert gaps(job) == [60] * 5
        assert job.refresh().state == "failed"


def test_i07_a_command_works_on_the_jobs(tmp_path: Path) -> None:
    """The worker of the command line finds the task under the name the script gave it."""
    run(IDIOMS, tmp_path, str(IDIOMS / "i07_worker_command.py"))
    work(IDIOMS, tmp_path, "i07_worker_command:app")
    app = Treadle(f"sqlite:///{tmp_path / 'jobs.db'}")
    (job,) = app.jobs()
    assert job.result() == 5
    app.close()


def test_i08_a_call_is_put_into_a_queue() -> None:
    """By the task or by its name, it is the same job."""
    with i08_enqueue.app.testing() as kit:
        jobs = [i08_enqueue.double.enqueue(5), i08_enqueue.app.enqueue("double", 5)]
        kit.drain()
        assert [job.result() for job in jobs] == [10, 10]


def test_i11_i12_a_request_sent_again_finds_its_job() -> None:
    """The key gives the same job and its result; another call under it is refused."""
    with i11_i12_idempotency_key.app.testing() as kit:
        first = i11_i12_idempotency_key.on_request("r-1", 7, 990)
        kit.drain()
        again = i11_i12_idempotency_key.on_request("r-1", 7, 990)
        assert (again.id, again.result()) == (first.id, "order 7: 9.90")
        with pytest.raises(DuplicateJob, match="r-1"):
            i11_i12_idempotency_key.on_request("r-1", 7, 1)
        one = i11_i12_idempotency_key.index.enqueue({"a": "1", "b": "2"})
        kit.drain()
        assert i11_i12_idempotency_key.index.enqueue({"b": "2", "a": "1"}).id == one.id


def test_i13_the_numbers_of_a_lock_rise() -> None:
    """Each hold has a higher number, and what is guarded keeps the last one."""
    with i13_lock.app.testing() as kit:
        jobs = i13_lock.write_report.enqueue_many([(1,), (2,)])
        kit.drain()
        fences = [job.result() for job in jobs]
        assert len(set(fences)) == 2
        assert i13_lock.report["fence"] == max(fences)


def test_i10_waits_double_up_to_a_minute(refusing: tuple[str, int]) -> None:
    """Each is from the upper half of two, four, eight seconds, and at last of sixty."""
    with i10_backoff.app.testing() as kit:
        job = i10_backoff.ping.enqueue(*refusing)
        kit.drain()
        longest = [2, 4, 8, 16, 32, 60, 60]
        found = gaps(job)
        assert len(found) == len(longest)
        assert all(most / 2 <= gap <= most for gap, most in zip(found, longest, strict=True)), found
        assert found != longest


def test_i21_retries_come_by_themselves(refusing: tuple[str, int]) -> None:
    """Three retries after one, two and four seconds, each from the upper half of that."""
    with i21_autoretry.app.testing() as kit:
        job = i21_autoretry.ping.enqueue(*refusing)
        kit.drain()
        first, second, third = gaps(job)
        assert 0.5 <= first <= 1 <= second <= 2 <= third <= 4


def test_i22_a_job_waits_and_expires() -> None:
    """It does not run before its delay, nor after its expiry."""
    with i22_countdown.app.testing() as kit:
        job = i22_countdown.later.enqueue("ada")
        assert (kit.drain(within=299), kit.drain(within=1)) == (0, 1)
        assert job.refresh().priority == 9
        late = i22_countdown.later.enqueue("bob")
        kit.move(3601)
        assert kit.drain() == 0
        assert late.refresh().state == "expired"


def test_i23_a_result_is_looked_for_and_waited_for() -> None:
    """There is none before the job has run."""
    with i23_result.app.testing() as kit:
        job = i23_result.add.enqueue(1, 2)
        assert i23_result.look(job) is None
        kit.drain()
        assert i23_result.look(job) == 3


def test_i24_a_worker_has_settings_and_a_start() -> None:
    """What the start-up hook loaded is there, and what the task logs is kept."""
    with i24_worker_settings.app.testing() as kit:
        job = i24_worker_settings.convert.enqueue(100, "USD")
        kit.drain()
        assert job.result() == pytest.approx(108)
        assert [line.text for line in job.logs()] == ["attempt 1: 100.0 EUR in USD"]
    assert i24_worker_settings.app.settings.concurrency == 10


def test_i26_a_person_is_told_of_a_dead_letter() -> None:
    """After the last attempt, once."""
    with i26_dead_letter_alert.app.testing() as kit:
        i26_dead_letter_alert.charge.enqueue("p-1")
        kit.drain()
    (alert,) = i26_dead_letter_alert.alerts
    assert "charge('p-1',) failed 3 times" in alert
    assert "no answer for p-1" in alert


def test_i30_i36_a_job_is_followed_by_its_url() -> None:
    """The answer names the job; its status goes from ready to succeeded, with the result."""
    with i30_i36_status.app.testing() as kit:
        answer = i30_i36_status.post_report("2024-06")
        job_id = str(answer["job_id"])
        assert answer["status_url"] == f"/jobs/{job_id}"
        before = i30_i36_status.get_job(job_id)
        kit.drain()
        after = i30_i36_status.get_job(job_id)
    assert (before["status"], before["result"], before["is_terminal"]) == ("ready", None, False)
    assert after["status"] == "succeeded"
    assert after["result"] == "/reports/2024-06.pdf"
    assert after["is_terminal"] is True


def test_i31_a_task_tidies_up_at_its_soft_limit() -> None:
    """It keeps what it has done; the limits of the example are those of the idiom."""
    definition = i31_time_limits.app.definition(i31_time_limits.render.name)
    assert definition is not None
    assert definition.soft_timeout_us == 50 * 60 * 1_000_000
    assert definition.timeout_us == 60 * 60 * 1_000_000
    app = Treadle("memory://")
    hurried = app.task(name="render", soft_timeout=0.5, timeout=30)(definition.fn)
    with app.testing() as kit:
        job = hurried.enqueue(1_000)
        kit.drain()
        assert 0 < job.result() < 1_000


def test_i32_a_decline_is_an_answer() -> None:
    """It is not tried again; a gateway that is away is, up to the fifth attempt."""
    with i32_declined.app.testing() as kit:
        jobs = [i32_declined.charge.enqueue(card, 100) for card in ("good", "empty", "away")]
        kit.drain()
        paid, declined, away = jobs
        assert paid.result() == "paid 100"
        assert declined.result() == "declined: insufficient funds"
        assert declined.attempt == 1
        with pytest.raises(JobFailed, match="does not answer"):
            away.result()
        assert away.attempt == 5


def test_i33_an_order_is_charged_once() -> None:
    """Sent twice and tried twice, it is one charge, also when another job comes for it."""
    with i33_charge_once.app.testing() as kit:
        ids = {i33_charge_once.place(1, 990), i33_charge_once.place(1, 990)}
        kit.drain()
        (job,) = [i33_charge_once.app.job(id_) for id_ in ids]
        assert (job.result(), job.attempt) == ("order 1 is paid", 2)
        # As when the key is forgotten with the record of the job.
        late = i33_charge_once.process_order.enqueue(1, 990)
        kit.drain()
        assert (late.result(), late.refresh().attempt) == ("order 1 is paid", 1)
        assert i33_charge_once.charges == {"order-1": 990}


def test_i35_what_was_not_delivered_is_listed(
    refusing: tuple[str, int], listening: tuple[str, int]
) -> None:
    """A dead letter has task, payload, error, attempts and time; a delivered one is not there."""
    with i35_webhook.app.testing() as kit:
        i35_webhook.deliver.enqueue(*listening, {"order": "1"})
        i35_webhook.deliver.enqueue(*refusing, {"order": "2"})
        kit.drain()
        (entry,) = i35_webhook.undelivered()
    assert entry["payload"] == {"order": "2"}
    assert entry["attempts"] == 3
    assert entry["task"] == i35_webhook.deliver.name
    assert "ConnectionRefusedError" in str(entry["error"])
    assert entry["failed_at"] is not None


def test_i41_tasks_share_their_defaults() -> None:
    """Both tasks have the queue and the policy; each keeps its own function."""
    with i41_defaults.app.testing() as kit:
        jobs = [i41_defaults.invoice.enqueue(1), i41_defaults.refund.enqueue(2)]
        kit.drain()
        assert [job.result() for job in jobs] == ["invoice 1", "refund 2"]
        assert [(job.queue, job.attempts_max) for job in jobs] == [("billing", 8)] * 2


def test_i42_waits_are_those_of_the_list(refusing: tuple[str, int]) -> None:
    """Ten seconds, a minute, five minutes; then it is over."""
    with i42_delays.app.testing() as kit:
        job = i42_delays.ping.enqueue(*refusing)
        kit.drain()
        assert gaps(job) == [10, 60, 300]
        assert job.refresh().state == "failed"


def test_i45_a_result_is_kept_under_its_key() -> None:
    """The second call gives the first one's result."""
    with i45_exactly_once.app.testing() as kit:
        key = i45_exactly_once.convert.using(idempotency_key="d-1")
        job = key.enqueue("text")
        kit.drain()
        assert i45_exactly_once.convert_once("d-1", "text") == "TEXT"
        assert [each.id for each in i45_exactly_once.app.jobs()] == [job.id]


def test_i46_a_sync_that_runs_is_not_made_again() -> None:
    """It is skipped for the same user until the first one has ended."""
    with i46_skip_running.app.testing() as kit:
        first = i46_skip_running.sync_user_data.enqueue(1)
        skipped = i46_skip_running.sync_user_data.enqueue(1)
        assert (skipped.state, skipped.is_duplicate) == ("cancelled", True)
        assert first.id in str(skipped.reason)
        i46_skip_running.sync_user_data.enqueue(2)
        assert kit.drain() == 2
        assert not i46_skip_running.sync_user_data.enqueue(1).is_duplicate


def test_i47_dead_letters_are_replayed() -> None:
    """At most as many as asked for; with the cause mended they succeed."""
    with i47_replay.app.testing() as kit:
        for _ in range(3):
            i47_replay.price.enqueue("lamp")
        kit.drain()
        i47_replay.prices["lamp"] = 54
        assert i47_replay.replay_dead_letters(limit=2) == 2
        kit.drain()
        states = sorted(str(job.state) for job in enqueued(i47_replay.price))
    assert states == ["failed", "succeeded", "succeeded"]


def test_i43_ten_a_minute_and_no_more() -> None:
    """One starts every six seconds, in moved time."""
    with i43_rate_limit.app.testing() as kit:
        jobs = i43_rate_limit.call_api.enqueue_many([(n,) for n in range(13)])
        kit.drain(within=0)
        assert sum(job.refresh().state == "succeeded" for job in jobs) == 1
        kit.drain()
        starts = sorted(at for job in jobs if (at := job.refresh().started_at) is not None)
        assert [round((b - a).total_seconds()) for a, b in pairwise(starts)] == [6] * 12


def test_i44_a_task_says_how_its_jobs_are_run_and_kept() -> None:
    """A hundred start at once, a broken one is tried three times, records are kept for a day."""
    with i44_job_options.app.testing() as kit:
        broken = i44_job_options.resize.enqueue("broken")
        kit.drain()
        assert (broken.refresh().state, broken.attempt, broken.priority) == ("failed", 3, 10)
        kit.move(60)
        jobs = i44_job_options.resize.enqueue_many([(f"{n}",) for n in range(103)])
        kit.drain(within=0)
        assert sum(job.refresh().state == "succeeded" for job in jobs) == 100
        kit.drain()
        assert jobs[-1].refresh().result() == "small 102"
        record = jobs[-1].record()
        assert record.keep_until is not None
        assert record.finished_at is not None
        assert record.keep_until - record.finished_at == 24 * 3600 * 1_000_000


def test_i50_queues_are_taken_in_order(tmp_path: Path) -> None:
    """One worker takes critical alone; the next takes what is left, in the given order."""
    for _ in range(2):
        run(IDIOMS, tmp_path, str(IDIOMS / "i50_queues.py"))
    order = ("--log-level", "error", "--concurrency", "1", "--queues")
    alone = work(IDIOMS, tmp_path, "i50_queues:app", *order, "critical")
    rest = work(IDIOMS, tmp_path, "i50_queues:app", *order, "critical,default,bulk")
    assert texts(alone) == ["critical"] * 2
    assert texts(rest) == ["default"] * 2 + ["bulk"] * 2


def texts(printed: str) -> list[str]:
    """Give the queues that the task of I-50 printed."""
    found = [line for line in printed.splitlines() if line.startswith("from ")]
    return [line.removeprefix("from ") for line in found]


def test_i51_a_view_answers_at_once() -> None:
    """The job is stored by then, and done later."""
    with i51_thread.app.testing() as kit:
        assert i51_thread.view("a@example.com") == "thank you"
        (job,) = enqueued(i51_thread.send_email)
        kit.drain()
        assert job.result() == "sent to a@example.com"


def test_i53_a_program_works_on_its_own_jobs(tmp_path: Path) -> None:
    """One process, one file, no second program."""
    assert run(IDIOMS, tmp_path, str(IDIOMS / "i53_embedded.py")) == "3\n"
    assert (tmp_path / "jobs.db").exists()
