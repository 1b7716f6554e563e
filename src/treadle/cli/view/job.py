"""How is one job shown with all that is known of it?

The story that `explain` tells comes first, since it answers most questions; then the fields, the
attempts, the arguments and the result, the error with its traceback, and the log lines. Each
part is bounded, so that a large result does not scroll the rest away.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import json
from rich.console import Console
from rich.text import Text

from treadle.cli.view.document import plain_call, plain_result
from treadle.cli.view.tables import Column, grid, state_text
from treadle.cli.view.text import cut, plural, safe, span, stamp
from treadle.client.views import AttemptInfo, LogLine, Progress
from treadle.core.errors import JobNotFound
from treadle.core.job import ErrorInfo
from treadle.job import Job

VALUE_MAX: Final = 4_000
"""Characters of a result, of the arguments or of a traceback that are shown."""
_LOGS_SHOWN: Final = 20
_ERROR_MAX: Final = 160


def print_job(out: Console, job: Job[Any]) -> None:
    """Print everything about a job."""
    out.print(Text.assemble((safe(job.task), "bold"), "  ", job.id, "  ", state_text(job.state)))
    _print_part(out, "Story", safe(_story(job), lines=True))
    out.print()
    out.print(grid((("FIELD", "left", "whole"), ("VALUE", "left", "fold")), _fields(job)))
    _print_attempts(out, job.attempts())
    _print_values(out, job)
    if job.error is not None:
        _print_part(out, "Error", _error_text(job.error), style="red")
    _print_logs(out, job)


def _story(job: Job[Any]) -> str:
    """Give `explain` without its first line and its attempts, which are shown apart."""
    wanted = ("State:", "Why:", "Key:", "Next:", "To do:")
    try:
        lines = job.explain().splitlines()
    except JobNotFound:
        return "Its record was deleted while it was shown."
    return "\n".join(line for line in lines if line.startswith(wanted))


def _fields(job: Job[Any]) -> list[tuple[str, str]]:
    rows = [
        ("queue", job.queue),
        ("priority", str(job.priority)),
        ("attempts", f"{job.attempt} of {job.attempts_max}"),
        ("enqueued", stamp(job.created_at)),
        ("not before", stamp(job.run_at)),
        ("started", stamp(job.started_at)),
        ("ended", stamp(job.finished_at)),
        ("expires", stamp(job.expires_at)),
        ("worker", job.worker or ""),
        ("key", job.key or ""),
        ("reason", job.reason or ""),
        ("progress", _progress(job.progress)),
        ("tags", ", ".join(job.tags)),
        ("meta", _json(job.meta) if job.meta else ""),
    ]
    return [(name, safe(value, lines=name == "meta")) for name, value in rows if value]


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return ""
    of = "" if progress.total is None else f" of {progress.total:g}"
    return f"{progress.done:g}{of} {progress.message}".strip()


def _print_attempts(out: Console, attempts: list[AttemptInfo]) -> None:
    if not attempts:
        return
    columns: tuple[Column, ...] = (
        ("#", "right", "whole"),
        ("STARTED", "left", "whole"),
        ("TOOK", "right", "whole"),
        ("OUTCOME", "left", "whole"),
        ("WORKER", "left", "fold"),
        ("ERROR", "left", "fold"),
    )
    out.print()
    out.print(grid(columns, [_attempt_cells(each) for each in attempts]))


def _attempt_cells(attempt: AttemptInfo) -> tuple[str | Text, ...]:
    took = attempt.ran
    if took is None and attempt.finished_at is not None:
        took = (attempt.finished_at - attempt.started_at).total_seconds()
    error = attempt.error
    said = "" if error is None else " ".join(f"{error.type}: {error.message}".split())
    return (
        str(attempt.number),
        stamp(attempt.started_at),
        "" if took is None else span(took),
        safe(attempt.outcome or "running"),
        safe(attempt.worker or ""),
        Text(safe(cut(said, _ERROR_MAX)), style="red"),
    )


def _print_values(out: Console, job: Job[Any]) -> None:
    args, kwargs, unreadable = plain_call(job)
    if unreadable is not None:
        _print_part(out, "Arguments", safe(unreadable), style="red")
    elif args or kwargs:
        call = args if not kwargs else kwargs if not args else {"args": args, "kwargs": kwargs}
        _print_part(out, "Arguments", safe(cut(_json(call), VALUE_MAX), lines=True))
    result, wrong = plain_result(job)
    if wrong is not None:
        _print_part(out, "Result", safe(wrong), style="red")
    elif job.record().result is not None:
        _print_part(out, "Result", safe(cut(_json(result), VALUE_MAX), lines=True))


def _json(value: object) -> str:
    return json.format(json.encode(value), indent=2).decode()


def _error_text(error: ErrorInfo) -> str:
    """Give the traceback's end, where the cause stands, or the error alone."""
    trace = error.traceback.rstrip()
    if len(trace) > VALUE_MAX:
        trace = f"... ({len(trace) - VALUE_MAX:,} earlier characters)\n{trace[-VALUE_MAX:]}"
    return safe(trace or f"{error.type}: {error.message}", lines=True)


def _print_logs(out: Console, job: Job[Any]) -> None:
    lines = job.logs()
    if not lines:
        return
    shown = lines[-_LOGS_SHOWN:]
    text = "\n".join(log_line(line) for line in shown)
    if len(lines) > len(shown):
        text += f"\n(the last of {plural(len(lines), 'line')}; all: treadle jobs logs {job.id})"
    _print_part(out, "Log", text)


def log_line(line: LogLine) -> str:
    """Write a line that a task logged."""
    return f"{stamp(line.at)}  #{line.attempt}  {line.level:<7}  {safe(line.text)}"


def _print_part(out: Console, title: str, body: str, style: str = "") -> None:
    out.print()
    out.print(Text(title, style="bold"))
    out.print(Text("\n".join(f"  {line}" for line in body.splitlines()), style=style))
