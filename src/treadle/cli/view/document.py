"""What does `--json` print? One document, with keys that stay.

Ids are text, instants ISO 8601 in UTC, durations seconds. Arguments and results are plain JSON
as they are stored, whether or not the task's code is at hand.
"""

from __future__ import annotations

from typing import Any, Final

import click
from msgspec import json

from treadle.client.views import (
    AttemptInfo,
    DeadGroup,
    LogLine,
    Progress,
    QueueInfo,
    WorkerState,
)
from treadle.core.errors import PayloadError
from treadle.core.job import ErrorInfo
from treadle.core.payload.codec import CallSpec
from treadle.job import Job

_PLAIN: Final = CallSpec.anything("a job")


def print_document(document: object) -> None:
    """Print one JSON document and nothing else."""
    click.echo(json.format(json.encode(document), indent=2).decode())


def plain_call(job: Job[Any]) -> tuple[list[Any], dict[str, Any], str | None]:
    """Give a job's arguments as plain JSON values; the last item says why they are unreadable."""
    try:
        args, kwargs = _PLAIN.decode(job.record().args)
    except PayloadError as error:
        return [], {}, str(error)
    return list(args), dict(kwargs), None


def plain_result(job: Job[Any]) -> tuple[Any, str | None]:
    """Give a job's stored result as plain JSON; the last item says why it is unreadable."""
    raw = job.record().result
    if raw is None:
        return None, None
    try:
        return json.decode(raw), None
    except ValueError as error:
        return None, f"the stored result is not JSON: {error}"


def job_row(job: Job[Any]) -> dict[str, Any]:
    """Give the fields of a job that a list shows."""
    error = job.error
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "state": str(job.state),
        "priority": job.priority,
        "attempt": job.attempt,
        "attempts_max": job.attempts_max,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "expires_at": job.expires_at,
        "worker": job.worker,
        "key": job.key,
        "reason": job.reason,
        "error": None if error is None else {"type": error.type, "message": error.message},
        "tags": job.tags,
        "as_of": job.as_of,
    }


def job_document(job: Job[Any]) -> dict[str, Any]:
    """Give all that is known of a job."""
    args, kwargs, unreadable = plain_call(job)
    result, no_result = plain_result(job)
    return job_row(job) | {
        "args": args,
        "kwargs": kwargs,
        "result": result,
        "unreadable": unreadable or no_result,
        "error": _error(job.error),
        "meta": job.meta,
        "progress": _progress(job.progress),
        "attempts": [_attempt(each) for each in job.attempts()],
        "explain": job.explain(),
    }


def log_row(line: LogLine) -> dict[str, Any]:
    """Give a line that a task logged."""
    return {"attempt": line.attempt, "at": line.at, "level": line.level, "text": line.text}


# Written out, because the structs leave defaults away and a document's keys must stay.


def _error(error: ErrorInfo | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"type": error.type, "message": error.message, "traceback": error.traceback}


def _progress(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {"done": progress.done, "total": progress.total, "message": progress.message}


def _attempt(attempt: AttemptInfo) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "outcome": attempt.outcome,
        "ran": attempt.ran,
        "error": _error(attempt.error),
    }


def queue_row(queue: QueueInfo) -> dict[str, Any]:
    """Give a queue with its counts by state."""
    return {
        "name": queue.name,
        "paused": queue.paused,
        "counts": queue.counts,
        "oldest_ready": queue.oldest_ready,
    }


def worker_row(worker: WorkerState) -> dict[str, Any]:
    """Give a worker; `queues` is null when it takes from every queue."""
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "queues": worker.queues,
        "slots": worker.slots,
        "running": worker.running,
        "started_at": worker.started_at,
        "beat_age": worker.beat_age,
    }


def group_row(group: DeadGroup) -> dict[str, Any]:
    """Give a group of dead letters."""
    return {
        "task": group.task,
        "reason": group.reason,
        "error": group.error,
        "count": group.count,
        "newest": group.newest,
    }
