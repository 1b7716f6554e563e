"""How do the worker's log records look: to a person, to a shell, to a program?

Records are the standard library's; what the line tells of a job stands in `record.treadle`. Three
forms: `pretty` (a person at a terminal, coloured there), `text` (one line with `key=value`, for
journals and grep), `json` (one object a line). `auto` is `pretty` on a terminal, else `text`.
Whatever a message holds, a record cannot end its line early or steer the terminal.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast

import click
from msgspec import json

from treadle.cli.view.text import safe, span
from treadle.core.job import JobState

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "pretty", "text", "json")

_SHORT_ID: Final = 8
_LEVEL_STYLES: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_STATE_STYLES: Final = {
    JobState.SUCCEEDED: "32",
    JobState.FAILED: "1;31",
    JobState.RETRYING: "33",
    JobState.CANCELLED: "2",
}
_encoder: Final = json.Encoder(enc_hook=str)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send the log to a stream, by default standard error, in one of the forms.

    A root logger that the user's code has set up keeps its handlers, and with `auto` its form,
    too; then only treadle's level is set.
    """
    out: TextIO | None = sys.stderr if stream is None else stream
    root = logging.getLogger()
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("treadle").setLevel(number)
    if root.handlers and form == "auto":
        return
    if out is None:
        # The process was started without a standard error.
        root.handlers[:] = [logging.NullHandler()]
        return
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter(form, terminal=out.isatty()))
    root.handlers[:] = [handler]
    root.setLevel(number)


class _Unheard(io.FileIO):
    """Output that may have nobody to read it: what cannot be written is dropped."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 -- any buffer, as there
        written: int | None = None
        with suppress(OSError):
            written = super().write(data)
        # None: it is gone, full, or takes nothing at the moment.
        return memoryview(data).nbytes if written is None else written


@contextmanager
def unheard() -> Iterator[None]:
    """Let what the block prints be lost where it cannot be written, rather than be an error.

    A reader that has gone away, or a full disk of a log, must fail no job that prints.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_dropping, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _dropping(stream: TextIO) -> TextIO:
    """Give a stream to the same file that drops what it cannot write.

    None, one that has no file, and one that somebody has put in the place of Python's own stay.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        stream.flush()
        file = _Unheard(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):
        return stream
    at_once = stream.write_through
    return io.TextIOWrapper(
        # Unbuffered (PYTHONUNBUFFERED) where the stream was, so that both keep their order.
        cast("io.BufferedWriter", file) if at_once else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=at_once,
    )


def tell(text: str, *, err: bool = True) -> None:
    """Say something beside the log; as with the log, no work ends because it cannot be written."""
    with suppress(OSError):  # Who read it has gone away, or its disk is full.
        click.echo(text, err=err)


def formatter(form: str, *, terminal: bool) -> logging.Formatter:
    """Make the formatter of a form.

    Raises:
        ValueError: there is no such form.
    """
    match form:
        case "json":
            return JsonFormatter()
        case "pretty":
            return PrettyFormatter(colours=terminal)
        case "auto" if terminal:
            return PrettyFormatter(colours=True)
        case "auto" | "text":
            return TextFormatter()
        case _:
            raise ValueError(f"there is no log format {form!r}; use one of {', '.join(FORMATS)}")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Give what the line says of a job; nothing for other records."""
    fields = getattr(record, "treadle", None)
    return fields if isinstance(fields, dict) else {}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the fields of `record.treadle` stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; JSON escapes line ends and control characters by itself."""
        row = fields_of(record) | {
            "at": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = _trace(self, record)
        if trace:
            row["traceback"] = trace
        return _encoder.encode(row).decode()


class TextFormatter(logging.Formatter):
    """One line a record: instant, level, message, then `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a value with spaces or quotes is quoted."""
        words = [_instant(record), f"{record.levelname:<7}", safe(record.getMessage())]
        words += [f"{key}={_quoted(value)}" for key, value in fields_of(record).items()]
        trace = _trace(self, record)
        if trace:
            words.append(f"traceback={_quoted(trace)}")
        return " ".join(words)


class PrettyFormatter(logging.Formatter):
    """A line that a person reads: local time, level, task, job, attempt, what happened."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a traceback follows indented."""
        at = datetime.fromtimestamp(record.created).astimezone()
        level = record.levelname.lower()
        fields = fields_of(record)
        said = self._job(fields) if "task" in fields else safe(record.getMessage(), lines=True)
        head = self._paint(f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}", "2")
        shown = self._paint(f"{level:<7}", _LEVEL_STYLES.get(level, "1;31"))
        line = f"{head} {shown} {said}"
        trace = _trace(self, record)
        if trace:
            line += "\n" + "\n".join(f"    {safe(each)}" for each in trace.splitlines())
        return line

    def _job(self, fields: dict[str, Any]) -> str:
        """Write what the line says of a job."""
        words = [self._paint(safe(str(fields["task"])), "1")]
        words.append(self._paint(f"{_job_id(fields)} #{fields.get('attempt')}", "2"))
        if fields.get("event") == "started":
            return " ".join([*words, "started"])
        state = str(fields.get("state", ""))
        outcome = str(fields.get("outcome", "ended"))
        words.append(self._paint(outcome, _STATE_STYLES.get(JobState(state), "") if state else ""))
        if "duration_ms" in fields:
            words.append(f"in {span(fields['duration_ms'] / 1000)}")
        if state not in ("", outcome):
            words.append(f"-> {state}")
        if "next_in_s" in fields:
            words.append(f"in {span(fields['next_in_s'])}")
        told = [str(fields[key]) for key in ("reason", "error") if fields.get(key)]
        return " ".join(words) + "".join(f": {safe(' '.join(each.split()))}" for each in told)

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours and style else text


def _job_id(fields: dict[str, Any]) -> str:
    """Shorten the id while all is well; write it whole where somebody will look the job up.

    The end is kept, since ids that were made together begin alike.
    """
    job = str(fields.get("job", ""))
    return job if fields.get("error") or fields.get("reason") else job[-_SHORT_ID:]


def _instant(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _quoted(value: object) -> str:
    text = safe(str(value))
    if text and not any(char in text for char in ' "='):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _trace(formatter_: logging.Formatter, record: logging.LogRecord) -> str:
    """Write the traceback and the stack that a record carries."""
    parts = []
    if record.exc_info:
        parts.append(formatter_.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter_.formatStack(record.stack_info))
    return "\n".join(parts)
