"""What is said to an outbox: a table in the database of the caller's own rows.

Where jobs are stored elsewhere than those rows, no transaction spans both. So a job is written
into this table, in the caller's transaction, and a relay hands it to the store afterwards. All
of it are scripts (`store.statements`), which run on any connection that has an adapter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, json
from msgspec.structs import replace

from treadle.core.errors import SettingsError, StoreUnavailable
from treadle.core.job import Fate, JobState, NewJob
from treadle.store.batches import check_size
from treadle.store.statements import BEGIN, COMMIT, ROLLBACK, Script, Statement

PAGE: Final = 500
"""Rows that a relay takes at a time."""
PROBLEM_MAX: Final = 500
"""Characters kept of why a row was refused."""
SHOWN_MAX: Final = 50
"""Refused rows that are listed."""

_ENGINES: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}
_BLOCK: Final = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_SCHEME: Final = re.compile(r"[a-z+]+")
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_encode = json.Encoder().encode
_decode = json.Decoder(NewJob).decode


class Waiting(Struct, frozen=True):
    """A row of an outbox that is to be relayed."""

    seq: int
    id: bytes
    raw: bytes

    def job(self) -> NewJob:
        """Read the job.

        Raises:
            ValueError: the row holds none, or another one than its id says.
        """
        job = _decode(self.raw)
        if job.id != self.id:
            raise ValueError(f"the row is of job {self.id.hex()} and holds {job.id.hex()}")
        return job


class Backlog(Struct, frozen=True):
    """What lies in an outbox."""

    waiting: int
    refused: int
    oldest: int | None
    """When the oldest row that waits was written, in microseconds."""
    problems: Sequence[tuple[bytes, str]]
    """The first refused rows: job id, and why."""


class Outbox:
    """The outbox of one namespace in one database."""

    def __init__(self, url: str, namespace: str) -> None:
        """Take the URL of the caller's database; nothing is opened.

        Raises:
            SettingsError: it is no URL of SQLite or PostgreSQL.
        """
        self.url = url
        scheme, separator, _ = url.partition("://")
        engine = _ENGINES.get(scheme) if separator else None
        if engine is None:
            # What has no scheme may begin with a password, and is not shown.
            is_scheme = separator and _SCHEME.fullmatch(scheme)
            found = f"not one of {scheme!r}" if is_scheme else "this one begins with no scheme"
            msg = (
                "outbox is the URL of your own database, sqlite:///path or "
                f"postgresql://user@host/database, and {found}"
            )
            raise SettingsError([msg])
        self.engine = engine
        """As SQLAlchemy names its dialects."""
        prefix = "treadle_" if namespace == "default" else f"treadle_{namespace}_"
        self.table = f"{_schema(url)}{prefix}outbox"
        """The table's name, with its schema where the URL names one."""
        digest = hashlib.blake2b(self.table.encode(), digest_size=8).hexdigest()
        self.channel = f"treadle_{digest}_outbox"
        """What PostgreSQL's listeners listen to."""
        self._sql = _statements(self.table.removesuffix("outbox"))

    def script(self) -> str:
        """Give what makes the table, as SQL to be run by hand or by a migration of your own."""
        return f"{self._sql[f'table_{self.engine}']};\n"

    def make(self) -> Script[None]:
        """Make the table, unless it is there."""
        yield BEGIN
        yield Statement(self._sql[f"table_{self.engine}"])
        yield COMMIT

    def enqueue(self, jobs: Sequence[NewJob], *, now: int | None = None) -> Script[list[Fate]]:
        """Write a batch in the caller's transaction; give the states that they will have.

        Delays and expiries count from now, not from when the relay comes to it.

        Raises:
            ValueError: the batch is too large.
            StoreUnavailable: the connection sees no outbox.
        """
        check_size(jobs)
        [[there]] = yield Statement(self._sql[f"there_{self.engine}"], [(self.table,)])
        if not there:
            raise StoreUnavailable(
                f"connection= is open on a database without the table {self.table}: make it with "
                "`treadle relay --migrate`, or give a connection to the database that the setting "
                "outbox names"
            )
        at = now
        if at is None:
            [[at]] = yield Statement(self._sql[f"now_{self.engine}"])
        made_at = int(at)
        fixed = [_dated(job, made_at) for job in jobs]
        if fixed:
            yield Statement(self._sql["add"], [(job.id, _encode(job), made_at) for job in fixed])
            if self.engine == "postgresql":
                yield Statement(self._sql["notify"], [(self.channel,)])
        return [JobState.SCHEDULED if (job.at or 0) > made_at else JobState.READY for job in fixed]

    def page(self, patience: float) -> Script[list[Waiting] | None]:
        """Read the rows to relay next, in order; None while it is another relay's turn.

        They were marked as a page, and that was committed: until they are deleted, every relay
        is given the same ones together. On PostgreSQL this begins the transaction that `done`
        ends; no statement of it, and no rest between two, may take longer than `patience` and
        four times that (s).
        """
        if not (yield from self._turn(patience)):
            return None
        rows = yield Statement(self._sql["page"], [(PAGE,)])
        if rows and all(page is None for _, page in rows):
            last = rows[-1][0]
            yield from self._mark([(seq, last) for seq, _ in rows])
            if not (yield from self._turn(patience)):
                return None
            rows = [(seq, last) for seq, _ in rows]
        if not rows:
            return []
        first, last = next((seq, page) for seq, page in rows if page is not None)
        found = yield Statement(self._sql["marked"], [(first, last)])
        if not found:
            # Another relay had the turn in between, and did these.
            if self.engine == "postgresql":
                yield ROLLBACK
            return None
        return [Waiting(seq, bytes(id_), bytes(job)) for seq, id_, job in found]

    def _mark(self, marks: Sequence[tuple[int, int]]) -> Script[None]:
        """Commit where the page of these rows ends; on PostgreSQL that ends the turn."""
        if self.engine == "sqlite":
            yield BEGIN
        yield Statement(self._sql["mark"], marks)
        yield COMMIT

    def _turn(self, patience: float) -> Script[bool]:
        """Begin on PostgreSQL the transaction that is a relay's turn; False: it is another's."""
        if self.engine == "postgresql":
            yield BEGIN
            limits = (str(int(patience * 1_000)), str(int(patience * 4_000)))
            [[mine]] = yield Statement(self._sql["turn"], [(self.table, *limits)])
            if not mine:
                yield ROLLBACK
                return False
        return True

    def done(self, sent: Sequence[int], refused: Sequence[tuple[int, str]]) -> Script[None]:
        """Delete what the store has, set aside what it refuses, and commit."""
        yield BEGIN
        if sent:
            yield Statement(self._sql["sent"], [(seq,) for seq in sent])
        if refused:
            yield Statement(self._sql["refused"], [(seq, _short(why)) for seq, why in refused])
        yield COMMIT

    def again(self) -> Script[None]:
        """Let refused rows be relayed again."""
        yield BEGIN
        yield Statement(self._sql["again"])
        yield COMMIT

    def backlog(self) -> Script[Backlog]:
        """Count what lies here."""
        [[every, refused, oldest]] = yield Statement(self._sql["counts"])
        rows = yield Statement(self._sql["problems"], [(SHOWN_MAX,)])
        problems = [(bytes(id_), why) for _, id_, why in rows]
        return Backlog(every - refused, refused, oldest, problems)


def _dated(job: NewJob, now: int) -> NewJob:
    """Make instants of what counts from now."""
    changes: dict[str, Any] = {}
    if job.at is None and job.delay:
        changes |= {"at": now + job.delay, "delay": 0}
    if job.expires_in is not None:
        changes |= {"expires_at": now + job.expires_in, "expires_in": None}
    return replace(job, **changes) if changes else job


def _short(why: str) -> str:
    return why[:PROBLEM_MAX].replace("\0", "\ufffd")


def _schema(url: str) -> str:
    """Give the schema that a PostgreSQL URL names, with a dot."""
    schema = dict(parse_qsl(urlsplit(url).query)).get("schema")
    if schema is None:
        return ""
    if not _SCHEMA.fullmatch(schema):
        raise SettingsError(
            [f"outbox: schema={schema!r}: a schema is 1 to 63 small letters, digits and '_'"]
        )
    return f"{schema}."


@lru_cache(maxsize=64)
def _statements(prefix: str) -> dict[str, str]:
    """Read every statement, by name, with the prefix filled in."""
    path = files("treadle.store.outbox") / "queries" / "outbox.sql"
    blocks = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return {
        name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE)
        .strip()
        .rstrip(";")
        .replace("{p}", prefix)
        for name, body in blocks
    }
