"""A job's story as text: what state it is in, why, since when, what happens next, what to do.

A pure function of what the store knows; it asks nobody and changes nothing. The command
line and `job.explain()` print what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from treadle.client.gates.story import is_task_paused, why_held, why_parked
from treadle.core.durations import SECOND, utc_text
from treadle.core.ids import id_text
from treadle.core.job import AttemptRecord, ErrorInfo, JobRecord, JobState
from treadle.core.keys.key import Until
from treadle.store.parts.moving import is_sealed

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateRecord
    from treadle.core.settings import Settings
    from treadle.store.parts.keyed import KeyRecord

_MESSAGE_MAX: Final = 300
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400

_ENDED_BY: Final = {
    "exhausted": "Its last attempt failed and none is left.",
    "not_retried": "Its error is one that its task's retry policy does not try again.",
    "poison": "Every worker that ran it died, or stood still for longer than its lease: {crashes} "
    "of {max_crashes} allowed.",
    "interrupted": "Its worker ended it in mid-attempt, and its task says on_lost='fail'.",
    "worker_lost": "Its worker died, or stood still for longer than its lease, while it ran, and "
    "its task says on_lost='fail'.",
    "unknown_task": "No worker knew its task for {unknown_task_max}.",
    "bad_result": "Its task ended well, but what it returned cannot be stored.",
    "unreadable": "Its stored row cannot be read; it may have been changed by hand.",
}

_MOVED: Final = "`treadle move` has sealed it, and did not end: give the same command again."


def explain(
    record: JobRecord,
    attempts: Sequence[AttemptRecord],
    settings: Settings,
    key: KeyRecord | None = None,
    gate: GateRecord | None = None,
) -> str:
    """Tell a job's story.

    Args:
        record: the job.
        attempts: its attempts, oldest first.
        settings: the application's settings, for what a job leaves open.
        key: who holds the job's key, when it was enqueued with one and somebody does.
        gate: the gate at which it is parked, or of a ready job that of its task, if there is one.
    """
    place = f"in queue {record.queue!r}, priority {record.priority}"
    lines = [
        f"Job {id_text(record.id)}: {record.task} {place}",
        _state(record, settings),
        *_reasons(record, settings, gate),
        *_key(record, key),
        *_tenant(record),
        f"Next: {_next(record, settings, gate)}",
        f"To do: {_advice(record, gate)}",
        *_attempts(attempts),
        f"As of {utc_text(record.as_of)}.",
    ]
    return "\n".join(lines)


def _state(record: JobRecord, settings: Settings) -> str:
    """Say the state, since when, and how many attempts are spent."""
    since = {
        JobState.RUNNING: record.started_at,
        JobState.READY: record.run_at,
        JobState.BLOCKED: record.created_at,
        JobState.SCHEDULED: record.created_at,
        JobState.RETRYING: record.finished_at,
    }.get(record.state, record.finished_at)
    said = f"State: {record.state}"
    if since is not None:
        said += f" since {utc_text(since)} ({_span(record.as_of - since)} ago)"
    return f"{said}; {_spent(record, settings)}"


def _spent(record: JobRecord, settings: Settings) -> str:
    most = settings.attempts if record.attempts_max is None else record.attempts_max
    spent = record.attempt - record.forgiven
    said = f"{spent} of {most} {'attempt' if most == 1 else 'attempts'} spent"
    return f"{said}, {record.forgiven} more forgiven" if record.forgiven else said


def _reasons(record: JobRecord, settings: Settings, gate: GateRecord | None) -> list[str]:
    """Say why, as far as it is stored."""
    lines = []
    parked = record.state is JobState.BLOCKED and record.reason == "gate"
    why = why_parked(record.gate, gate) if parked else _why(record, settings)
    if gate is not None and not parked and is_task_paused(gate):
        why = why_held(gate)
    if why:
        lines.append(f"Why: {why}")
    error = record.error_info()
    if error is not None and record.state is not JobState.SUCCEEDED:
        lines.append(f"Error: {_error(error)}")
    return lines


def _why(record: JobRecord, settings: Settings) -> str:
    waits = record.state in (JobState.SCHEDULED, JobState.READY)
    if waits and record.reason == "unknown_task":
        return f"No worker that looked at it knows the task {record.task!r}."
    if record.state is JobState.FAILED:
        return _why_failed(record, settings)
    because = f": {record.reason}" if record.reason not in (None, "", "cancelled") else ""
    return {
        JobState.BLOCKED: _why_blocked(record),
        JobState.SCHEDULED: "Its time has not come.",
        JobState.READY: "No worker has taken it yet.",
        JobState.RUNNING: f"Worker {record.worker} runs attempt {record.attempt}.",
        JobState.RETRYING: f"Attempt {record.attempt} failed; the retry policy lets it rest.",
        JobState.EXPIRED: f"It had not started by {_maybe_instant(record.expires_at)}.",
        JobState.CANCELLED: f"It was cancelled{because}.",
    }.get(record.state, "")


def _why_blocked(record: JobRecord) -> str:
    if record.reason == "key":
        return "Another job holds its key and runs."
    return _MOVED if is_sealed(record) else "It waits for other jobs."


def _why_failed(record: JobRecord, settings: Settings) -> str:
    said = _ENDED_BY.get(record.reason or "")
    if said is None:
        return f"Its task rejected it: {record.reason}" if record.reason else ""
    return said.format(
        crashes=record.crashes,
        max_crashes=settings.max_crashes,
        unknown_task_max=_span(round(settings.unknown_task_max * SECOND)),
    )


def _tenant(record: JobRecord) -> list[str]:
    """Say whose turn a job waits for."""
    if record.tenant is None:
        return []
    if record.state in (JobState.READY, JobState.BLOCKED):
        return [f"Tenant: {record.tenant!r}, which takes turns with the others of the queue."]
    return [f"Tenant: {record.tenant!r}."]


def _key(record: JobRecord, key: KeyRecord | None) -> list[str]:
    """Say which key a job holds, or which job keeps it from that key."""
    if record.key is None:
        return []
    name = repr(record.key)
    if key is None:
        return [f"Key: {name}, which it no longer holds; it is free."]
    if key.job == record.id:
        behind = "" if key.next is None else f"; job {id_text(key.next)} waits behind it"
        return [f"Key: it holds {name} {_held_until(key)}{behind}."]
    if key.next == record.id:
        return [f"Key: {name} is held by job {id_text(key.job)}, and it is the next to have it."]
    said = f"Key: {name}, which job {id_text(key.job)} holds by now"
    puts_back = record.state.is_terminal and record.state is not JobState.SUCCEEDED
    return [
        f"{said}; until that has ended this one cannot be put back." if puts_back else f"{said}."
    ]


def _held_until(key: KeyRecord) -> str:
    return {
        Until.CLAIM: "until it is first started",
        Until.END: "until it has ended",
        Until.RECORD: "for as long as its record is kept, unless it fails",
        Until.TIME: f"until {_maybe_instant(key.until_at)}",
    }[Until(key.until)]


def _next_blocked(record: JobRecord, attempt: int) -> str:
    if record.reason == "gate":
        return f"the gate wakes it, the best job first; then a worker starts attempt {attempt}."
    if record.reason == "key":
        return "it has its turn when the job that holds its key has ended."
    if is_sealed(record):
        return "it becomes ready in the other store when that command goes on."
    return "it becomes ready when the jobs that it waits for have ended."


def _next(record: JobRecord, settings: Settings, gate: GateRecord | None) -> str:
    """Say what happens by itself."""
    attempt = record.attempt + 1
    match record.state:
        case JobState.BLOCKED:
            return _next_blocked(record, attempt)
        case JobState.SCHEDULED | JobState.RETRYING:
            wait = record.run_at - record.as_of
            when = f"in {_span(wait)}, at {utc_text(record.run_at)}" if wait > 0 else "at once"
            return f"it becomes ready {when}; then a worker starts attempt {attempt}."
        case JobState.READY if is_task_paused(gate):
            return "the next worker that meets it lets it wait until its task is resumed."
        case JobState.READY:
            return f"a worker of queue {record.queue!r} starts attempt {attempt}."
        case JobState.RUNNING:
            return (
                "the attempt ends by itself or at its time limit; if its worker dies, another "
                f"takes the job over within about {settings.lease + settings.suspect_after:g} s."
            )
        case _:
            kept = _maybe_instant(record.keep_until)
            return f"nothing; its record is kept until {kept}."


def _advice(record: JobRecord, gate: GateRecord | None) -> str:
    """Say what a person can do."""
    job = id_text(record.id)
    if gate is not None and is_task_paused(gate):
        return (
            f"resume its task with `treadle gates resume {gate.name}`, or end it with "
            f"`treadle jobs cancel {job}`."
        )
    waits = record.state in (JobState.SCHEDULED, JobState.READY)
    if waits and record.reason == "unknown_task":
        return (
            "start a worker whose code defines the task, or register the new task with "
            f"aliases=[{record.task!r}] if it was renamed."
        )
    if record.state is JobState.BLOCKED and record.reason == "gate":
        return f"nothing; see `treadle gates ls`, or end it with `treadle jobs cancel {job}`."
    return {
        JobState.BLOCKED: f"nothing; `treadle jobs cancel {job}` ends it.",
        JobState.SCHEDULED: f"nothing; `treadle jobs retry {job}` starts it now.",
        JobState.READY: (
            f"nothing, if a worker takes from {record.queue!r}: see `treadle workers ls` and "
            "`treadle queues ls`."
        ),
        JobState.RUNNING: f"nothing; `treadle jobs cancel {job}` stops it.",
        JobState.RETRYING: f"nothing; `treadle jobs retry {job}` starts it now.",
        JobState.FAILED: (
            f"mend the cause, then `treadle dead replay {job}`; or `treadle dead discard {job}`."
        ),
        JobState.CANCELLED: f"nothing; `treadle jobs retry {job}` runs it after all.",
        JobState.EXPIRED: f"nothing; `treadle jobs retry {job}` runs it after all.",
    }.get(record.state, "nothing.")


def _attempts(attempts: Sequence[AttemptRecord]) -> list[str]:
    """Write a line for each attempt."""
    if not attempts:
        return ["Attempts: none so far."]
    return ["Attempts:", *(f"  {_attempt(each)}" for each in attempts)]


def _attempt(attempt: AttemptRecord) -> str:
    said = f"{attempt.attempt}. {utc_text(attempt.started_at)}  {attempt.outcome or 'running'}"
    took = attempt.ran
    if took is None and attempt.finished_at is not None:
        took = attempt.finished_at - attempt.started_at
    if took is not None:
        said += f" after {_span(took)}"
    if attempt.worker is not None:
        said += f" on {attempt.worker}"
    return said if attempt.error is None else f"{said}: {_error(attempt.error)}"


def _error(error: ErrorInfo) -> str:
    """Write an error on one line."""
    message = " ".join(error.message.split())
    if len(message) > _MESSAGE_MAX:
        message = message[:_MESSAGE_MAX] + "..."
    return f"{error.type}: {message}" if message else error.type


def _maybe_instant(micros: int | None) -> str:
    return "an unknown instant" if micros is None else utc_text(micros)


def _span(micros: int) -> str:
    """Write a duration the way a person says it, in at most two units."""
    seconds = max(micros, 0) / SECOND
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    for name, size, part, small in (("min", _MINUTE, "s", 1), ("h", _HOUR, "min", _MINUTE)):
        if seconds < size * (60 if size == _MINUTE else 24):
            whole, rest = divmod(int(seconds), size)
            return f"{whole} {name} {rest // small} {part}" if rest // small else f"{whole} {name}"
    whole, rest = divmod(int(seconds), _DAY)
    return f"{whole} d {rest // _HOUR} h" if rest // _HOUR else f"{whole} d"
