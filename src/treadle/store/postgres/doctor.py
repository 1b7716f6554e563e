"""The examination of a PostgreSQL server: what would lose jobs, and what makes a queue slow there.

What is asked is one round trip of the server's own views; what the answers mean are pure rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from treadle.core.clock import SystemClock
from treadle.store.findings import Finding, Level, judge_clock, ok, unseen
from treadle.store.postgres.engine.pack import texts
from treadle.store.postgres.engine.pooler import pool_mode
from treadle.store.postgres.engine.wire import Ask, Row, Rows

if TYPE_CHECKING:
    from treadle.store.postgres.engine.runner import Runner, Steps, Talk
    from treadle.store.postgres.engine.sql import Place, Statements

_SETTINGS: Final = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes",
    "synchronous_standby_names", "default_transaction_isolation", "autovacuum", "max_connections",
    "superuser_reserved_connections", "reserved_connections",
    "idle_in_transaction_session_timeout", "tcp_keepalives_idle",
)  # fmt: skip
_DEAD_MIN: Final = 10_000
_HELD_S: Final = 60
_FULL: Final = 0.8
_KEEPALIVE_MAX_S: Final = 600
_STATS_RIGHT: Final = "grant pg_read_all_stats to treadle's user, then look again."

Settings = Mapping[str, str]


def ask(
    runner: Runner, place: Place, sql: Statements, version: int, *, deep: bool
) -> Steps[list[Finding]]:
    """Ask a server, and judge its answers; without `deep` only for what could lose jobs."""
    begun = SystemClock().wall()
    settings, [[at]], sessions, holders, table = yield from runner.run(lambda: _look(sql))
    clock = judge_clock(begun, at, SystemClock().wall())
    said: dict[str, str] = dict(settings)
    findings = [
        ok("version", f"PostgreSQL {said.get('server_version')}"),
        ok("schema", f"version {version}"),
        clock,
        *judge_durability(said),
        judge_standbys(said, sessions[0][2], sees=sessions[0][1]),
    ]
    if deep:
        findings += judge_settings(said)
        findings += [judge_room(said, sessions[0][0]), *judge_holders(holders, sees=sessions[0][1])]
        findings += judge_table(table, f"{place.tables}jobs")
        findings.append(judge_pooler((yield from pool_mode(runner))))
    return findings


def _look(sql: Statements) -> Talk[list[Rows]]:
    names = ("server_clock", "server_sessions", "snapshot_holders", "hot_table")
    settings = (sql["server_settings"], (texts(_SETTINGS),))
    _, answers = yield Ask([settings, *((sql[name], ()) for name in names)])
    return answers


def judge_durability(said: Settings) -> Iterator[Finding]:
    """Judge what a commit that was answered for is worth."""
    if said.get("fsync") == "off":
        means = "A crash of the machine can destroy the whole database."
        yield Finding(
            Level.LOSES, "fsync", "off", means, "alter system set fsync = on, and reload."
        )
    else:
        yield ok("fsync", said.get("fsync"))
    if said.get("full_page_writes") == "off":
        means = "A power cut in the middle of a page's write damages the database."
        advice = "alter system set full_page_writes = on, unless the disk writes 8 KiB atomically."
        yield Finding(Level.LOSES, "full_page_writes", "off", means, advice)
    else:
        yield ok("full_page_writes", said.get("full_page_writes"))
    commit = said.get("synchronous_commit", "unknown")
    if commit == "off":
        means = "A crash of the server loses the last moments (about three times wal_writer_delay)."
        advice = "Set synchronous_commit = on, at least for treadle's user (alter role ... set)."
        yield Finding(Level.LOSES, "synchronous_commit", commit, means, advice)
    else:
        yield ok("synchronous_commit", commit)


def judge_standbys(said: Settings, synchronous: int, *, sees: bool) -> Finding:
    """Judge what a failover would keep."""
    names = said.get("synchronous_standby_names", "")
    waits = said.get("synchronous_commit") in ("on", "remote_apply", "remote_write")
    if not names or not waits:
        means = "A failover to an asynchronous standby loses the commits that it has not got yet."
        advice = "Name a synchronous standby if jobs must survive the loss of this machine."
        return Finding(Level.NOTE, "synchronous_standby_names", names or "none", means, advice)
    if not sees:
        return unseen("synchronous standbys", f"{names}; whether one is there", _STATS_RIGHT)
    if not synchronous:
        means = "No synchronous standby is connected: commits wait for one without end."
        advice = "Bring the standby back, or empty synchronous_standby_names."
        return Finding(Level.LOSES, "synchronous_standby_names", names, means, advice)
    return ok("synchronous_standby_names", names, "Commits are on two machines.")


def judge_settings(said: Settings) -> Iterator[Finding]:
    """Judge what makes a queue slow, or keeps locks of clients that are gone."""
    isolation = said.get("default_transaction_isolation", "")
    if isolation == "read committed":
        yield ok("default_transaction_isolation", isolation)
    else:
        means = "Claims and settlements that meet are refused by the server and tried again."
        advice = "alter role ... set default_transaction_isolation = 'read committed'"
        name = "default_transaction_isolation"
        yield Finding(Level.WARNING, name, isolation, means, advice)
    if said.get("autovacuum") == "off":
        means = "Dead rows stay for ever, and the tables grow and slow down."
        yield Finding(Level.WARNING, "autovacuum", "off", means, "alter system set autovacuum = on")
    else:
        yield ok("autovacuum", "on")
    if said.get("idle_in_transaction_session_timeout") == "0":
        means = "A program that forgets a transaction keeps its locks and dead rows for days."
        advice = "Set it to some minutes (alter role ... set, or for all)."
        name = "idle_in_transaction_session_timeout"
        yield Finding(Level.NOTE, name, "0, no limit", means, advice)
    idle = int(said.get("tcp_keepalives_idle", "0"))
    if idle > _KEEPALIVE_MAX_S:
        means = (
            "The server notices a client whose machine is gone that late; its locks last so long."
        )
        advice = "alter system set tcp_keepalives_idle = 60"
        yield Finding(Level.NOTE, "tcp_keepalives_idle", f"{idle} s", means, advice)


def judge_room(said: Settings, used: int) -> Finding:
    """Judge how many connections are left."""
    # Since PostgreSQL 16 some may be kept for roles that this user need not have.
    kept = int(said["superuser_reserved_connections"]) + int(said.get("reserved_connections", 0))
    most = int(said["max_connections"]) - kept
    shown = f"{used} of {most} connections in use"
    if used < _FULL * most:
        return ok("max_connections", shown)
    means = "When none is left, workers cannot connect; a worker process needs 2 to 17."
    return Finding(
        Level.WARNING, "max_connections", shown, means, "Raise it, or put PgBouncer in front."
    )


def judge_holders(rows: Sequence[Row], *, sees: bool) -> Iterator[Finding]:
    """Judge who holds old snapshots: (kind, who, age in transactions, seconds)."""
    if not sees:
        yield unseen("sessions of other users", "their state is hidden", _STATS_RIGHT)
    if not rows:
        yield ok("oldest transaction", "none is open beside this look")
    for kind, who, age, seconds in rows:
        long = seconds is None or seconds >= _HELD_S
        since = "" if seconds is None else f", open for {seconds:,} s"
        held = "" if age is None else f", holds back {age:,} transactions"
        means = (
            "Rows that were deleted or changed since cannot be removed, and every look reads them."
        )
        yield Finding(
            Level.WARNING if long else Level.NOTE,
            "oldest transaction",
            f"{kind}: {who}{since}{held}",
            means,
            _ENDINGS[kind],
        )


_ENDINGS: Final = {
    "session": "End it: select pg_terminate_backend(PROCESS). Run long reports on a replica.",
    "prepared transaction": "End it: commit prepared or rollback prepared with that name.",
    "replication slot": "Bring its standby back, or select pg_drop_replication_slot(NAME).",
}


def judge_table(rows: Rows, name: str) -> Iterator[Finding]:
    """Judge the table of live jobs: (live and dead rows, seconds since a vacuum, switched off).

    `name` is the table's, with its schema where the URL names one.
    """
    if not rows:
        return
    [(live, dead, vacuumed, off)] = rows
    if off:
        means = "Dead rows of the hot table stay until somebody vacuums it by hand."
        advice = f"alter table {name} reset (autovacuum_enabled)"
        yield Finding(Level.WARNING, "autovacuum of the hot table", "off", means, advice)
    last = "never vacuumed" if vacuumed is None else f"vacuumed {vacuumed:,} s ago"
    shown = f"{dead:,} dead beside {live:,} live rows, {last}"
    if dead >= _DEAD_MIN and dead > live:
        means = "A look for work reads past dead rows."
        advice = f"See who holds the oldest transaction; then vacuum {name}."
        yield Finding(Level.WARNING, "dead rows of the hot table", shown, means, advice)
    else:
        yield ok("dead rows of the hot table", shown)


def judge_pooler(mode: str | None) -> Finding:
    """Judge what stands between us and the server."""
    if mode is None:
        return ok("pooler", "none")
    means = "Notifications do not come through: workers look for themselves each second."
    if mode == "transaction":
        return ok("pooler", "in transaction mode", means)
    advice = "Transaction mode needs fewer connections to the server."
    return Finding(Level.NOTE, "pooler", f"in {mode} mode, as it seems", means, advice)
