"""The worker's log: three forms, each of one line a record that steers no terminal."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from treadle.cli.logs import configure, formatter

ENDED: dict[str, Any] = {
    "job": "0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77",
    "task": "mail.send",
    "queue": "mail",
    "attempt": 2,
    "worker": "host:1:abc",
    "state": "retrying",
    "outcome": "failed",
    "duration_ms": 12.5,
    "error": "ConnectionError: no\nroute \x1b[31m",
    "next_in_s": 14.0,
    "event": "ended",
}
WHOLE = "mail.send 0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77 #2"


def _record(message: str, fields: dict[str, Any] | None = None) -> logging.LogRecord:
    record = logging.LogRecord("treadle.job", logging.WARNING, __file__, 1, message, (), None)
    if fields is not None:
        record.treadle = fields
    return record


def _written(form: str, record: logging.LogRecord, *, terminal: bool = False) -> str:
    return formatter(form, terminal=terminal).format(record)


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Put the root logger and treadle's level back."""
    root, own = logging.getLogger(), logging.getLogger("treadle")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:], root.level, own.level = before


def test_json_is_one_object_a_line() -> None:
    """The job's fields stand beside instant, level, logger and message."""
    line = _written("json", _record("failed mail.send\r\n", ENDED))
    assert not set(line) & {"\n", "\r", "\x1b"}
    row = json.loads(line)
    assert row.items() >= ENDED.items()
    assert (row["level"], row["logger"]) == ("warning", "treadle.job")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["at"])
    assert row["message"] == "failed mail.send\r\n"


def test_json_takes_values_that_are_none_of_json() -> None:
    """A field of another type is written as text rather than lost with its record."""
    assert json.loads(_written("json", _record("x", {"task": ValueError("odd")})))["task"] == "odd"


def test_text_is_one_line_with_fields() -> None:
    """Values with spaces are quoted, line ends and escapes written out."""
    line = _written("text", _record("failed mail.send", ENDED))
    assert not set(line) & {"\n", "\r", "\x1b"}
    assert " WARNING failed mail.send job=0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77 task=mail" in line
    assert r'error="ConnectionError: no\nroute \x1b[31m"' in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {},
            WHOLE + r" failed in 12 ms -> retrying in 14 s: ConnectionError: no route \x1b[31m",
        ),
        (
            {"event": "started", "error": None, "state": None},
            "mail.send 9e4b1a77 #2 started",
        ),
        (
            {"state": "succeeded", "outcome": "succeeded", "error": None, "next_in_s": 0},
            "mail.send 9e4b1a77 #2 succeeded in 12 ms",
        ),
        (
            {"state": "failed", "error": None, "reason": "card 3", "next_in_s": 0},
            WHOLE + " failed in 12 ms: card 3",
        ),
    ],
)
def test_pretty_tells_what_happened(change: dict[str, Any], said: str) -> None:
    """Ids are short while all is well, and whole where somebody will look the job up."""
    fields = {name: value for name, value in (ENDED | change).items() if value}
    line = _written("pretty", _record("x", fields))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} warning " + re.escape(said), line)


def test_colours_only_on_a_terminal() -> None:
    """The same record has escapes on a terminal and none elsewhere."""
    assert "\x1b[33m" in _written("pretty", _record("x", ENDED), terminal=True)
    assert "\x1b" not in _written("pretty", _record("x", ENDED))


@pytest.mark.parametrize("form", ["json", "text", "pretty"])
def test_a_traceback_is_kept(form: str) -> None:
    """Each form has the traceback; only the pretty one takes several lines for it."""
    record = _record("it failed")
    try:
        int("deep \x1b[31m")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = _written(form, record)
    assert "ValueError: invalid literal" in text
    assert "\x1b" not in text
    assert (text.count("\n") > 0) == (form == "pretty")


@pytest.mark.usefixtures("_logging_as_before")
def test_auto_is_text_where_nobody_looks() -> None:
    """In a journal or a pipe a line is dated and has no colours."""
    out = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure("warning", "auto", out)
    logging.getLogger("treadle.x").info("quiet")
    logging.getLogger("treadle.x").warning("loud")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z WARNING loud\n", out.getvalue())


@pytest.mark.usefixtures("_logging_as_before")
def test_a_log_that_the_user_set_up_is_kept() -> None:
    """Handlers of the user's code stay with `auto`, and are replaced when a form is asked for."""
    theirs, ours = io.StringIO(), io.StringIO()
    logging.getLogger().handlers[:] = [logging.StreamHandler(theirs)]
    configure("info", "auto", ours)
    logging.getLogger("treadle.x").info("first")
    configure("info", "json", ours)
    logging.getLogger("treadle.x").info("second")
    assert theirs.getvalue() == "first\n"
    assert json.loads(ours.getvalue())["message"] == "second"


def test_an_unknown_form_is_refused() -> None:
    """The message names the forms there are."""
    with pytest.raises(ValueError, match="auto, pretty, text, json"):
        formatter("xml", terminal=False)
