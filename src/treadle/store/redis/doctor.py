"""The examination of a Redis or Valkey server: which of its settings would lose jobs.

What is asked is a conversation; what the answers mean are pure rules. A user with the rights of
the guide may ask neither INFO nor CONFIG: then the findings say so, rather than that all is well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from treadle.core.clock import SystemClock
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.findings import Finding, Level, judge_clock, ok, unseen
from treadle.store.redis.engine.replies import is_forbidden

if TYPE_CHECKING:
    from treadle.store.redis.engine.address import Address
    from treadle.store.redis.engine.runner import Runner, Steps

_CONFIG: Final = ("*appendfsync*", "save", "min-replicas-*")
_FULL: Final = 0.8
_LAG_MAX_S: Final = 10
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_RIGHTS: Final = "Let a user with the rights +info +config|get +cluster look."

Facts = Mapping[str, str]


class Answers(Struct, frozen=True, kw_only=True):
    """What a server answered; None where it refused."""

    hello: Facts
    info: Facts | None
    config: Facts | None
    slot: int | None
    cluster: Facts | None
    schema: int | None


def ask(runner: Runner, base: str, schema: int) -> Steps[list[Finding]]:
    """Ask a server, and judge its answers."""
    hello = _pairs((yield from runner.command("HELLO")))
    begun = SystemClock().wall()
    seconds, micros = yield from runner.command("TIME")
    clock = judge_clock(begun, int(seconds) * 1_000_000 + int(micros), SystemClock().wall())
    info = yield from _allowed(runner, "INFO")
    config: dict[str, str] | None = {}
    for pattern in _CONFIG:
        found = yield from _allowed(runner, "CONFIG", "GET", pattern)
        config = None if found is None or config is None else config | _pairs(found)
    slot, cluster = None, None
    if hello.get("mode") == "cluster":
        slot = yield from _allowed(runner, "CLUSTER", "KEYSLOT", base)
        cluster = yield from _allowed(runner, "CLUSTER", "INFO")
    answers = Answers(
        hello=hello,
        info=None if info is None else _lines(info),
        config=config,
        slot=slot,
        cluster=None if cluster is None else _lines(cluster),
        schema=schema,
    )
    return [*judge(answers, runner.pool.address, time.time()), clock]


def _allowed(runner: Runner, *words: str) -> Steps[Any]:
    """Send a command; None where this user may not, or this server does not know it."""
    try:
        return (yield from runner.command(*words))
    except StoreUnavailable as error:
        if not is_forbidden(error):
            raise
        return None
    except StoreError:
        return None


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value)
             for value in flat]  # fmt: skip
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _lines(raw: bytes) -> dict[str, str]:
    rows = (line.partition(":") for line in raw.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in rows if colon}


def judge(said: Answers, address: Address, now: float) -> Iterator[Finding]:
    """Judge a server's answers; `now` is in seconds since the epoch."""
    kind = said.hello.get("server", "redis").capitalize()
    yield ok("version", f"{kind} {said.hello.get('version', 'unknown')}")
    yield ok("schema", f"version {said.schema}" if said.schema else "nothing stored yet")
    yield from _door(address)
    if said.info is None:
        yield unseen("memory, persistence, replication", "INFO is refused", _RIGHTS)
    else:
        yield from _memory(said.info)
        yield from _persistence(said.info, said.config, now)
        yield from _replication(said.info, said.config)
    if said.config is None:
        advice = f"{_RIGHTS} Hosts that allow nobody to ask say these settings on their pages."
        yield unseen("appendfsync, save, min-replicas-to-write", "CONFIG GET is refused", advice)
    yield from _cluster(said, address)


def _door(address: Address) -> Iterator[Finding]:
    near = all(host in _LOOPBACK for host, _ in address.places)
    if address.tls_unchecked:
        means = "Whoever stands between can read and change every job."
        advice = "Name the authority with ssl_ca_certs=FILE and drop ssl_cert_reqs=none."
        yield Finding(Level.WARNING, "tls", "the certificate is not checked", means, advice)
    elif address.tls:
        yield ok("tls", "on, the certificate is checked")
    elif not near:
        means = "Arguments and the password travel readable."
        yield Finding(
            Level.NOTE, "tls", "off", means, "Write rediss:// where the network is not yours."
        )


def _memory(info: Facts) -> Iterator[Finding]:
    policy, limit = info.get("maxmemory_policy", "unknown"), int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0))
    yield _eviction(policy)
    shown = f"{used / 2**20:,.0f} MiB used"
    if not limit:
        means = "Without a limit the machine's memory is one, and the kernel ends who meets it."
        yield Finding(Level.NOTE, "maxmemory", f"none, {shown}", means, "Set maxmemory below it.")
        return
    shown = f"{shown} of {limit / 2**20:,.0f}"
    if used > _FULL * limit:
        means = "A full server refuses new jobs; those that it has still run and settle."
        advice = "Raise maxmemory, or keep ended jobs for less long (keep_succeeded, keep_failed)."
        yield Finding(Level.WARNING, "maxmemory", shown, means, advice)
    else:
        yield ok("maxmemory", shown)


def _eviction(policy: str) -> Finding:
    """Judge which keys a full server deletes; which of ours expire is listed in `keys`."""
    if policy == "noeviction":
        return ok("maxmemory-policy", policy)
    advice = "CONFIG SET maxmemory-policy noeviction, and write it into the server's file."
    if policy.startswith("allkeys"):
        means = "When memory is full the server deletes keys of its choice, and jobs are keys."
        return Finding(Level.LOSES, "maxmemory-policy", policy, means, advice)
    means = (
        "When memory is full the server deletes keys that expire. Jobs do not; locks, keys held "
        "for a time (Throttle) and the answers to batches with keys do: a lock gets two holders, "
        "a job is stored twice."
    )
    return Finding(Level.WARNING, "maxmemory-policy", policy, means, advice)


def _persistence(info: Facts, config: Facts | None, now: float) -> Iterator[Finding]:
    if info.get("aof_enabled") == "1":
        yield from _append_only(info, config)
    else:
        yield _snapshots(info, config, now)
    saved = info.get("rdb_last_bgsave_status", "ok")
    if saved != "ok":
        means = (
            "The last snapshot could not be written; the server may refuse all writes until one is."
        )
        yield Finding(
            Level.WARNING, "rdb_last_bgsave_status", saved, means, "Look at its log: disk, memory."
        )


def _append_only(info: Facts, config: Facts | None) -> Iterator[Finding]:
    yield ok("appendonly", "yes")
    written, rewritten = info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")
    if written not in (None, "ok"):
        means = "The append-only file cannot be written: what is stored now is in memory alone."
        yield Finding(
            Level.LOSES,
            "aof_last_write_status",
            written,
            means,
            "Free disk space; look at the log.",
        )
    if rewritten not in (None, "ok"):
        means = "The append-only file cannot be rewritten and grows until the disk is full."
        yield Finding(
            Level.WARNING,
            "aof_last_bgrewrite_status",
            rewritten,
            means,
            "Look at the server's log.",
        )
    late = int(info.get("aof_delayed_fsync", 0))
    if late:
        means = (
            "The disk was too slow for everysec so often: a crash then loses more than a second."
        )
        yield Finding(
            Level.NOTE, "aof_delayed_fsync", str(late), means, "Give the server a faster disk."
        )
    if config is None:
        return
    yield _fsync(config.get("appendfsync", "unknown"))
    if config.get("no-appendfsync-on-rewrite") == "yes":
        means = (
            "While the file is rewritten nothing is synchronised; a power cut then loses all of it."
        )
        advice = "CONFIG SET no-appendfsync-on-rewrite no"
        yield Finding(Level.WARNING, "no-appendfsync-on-rewrite", "yes", means, advice)


def _fsync(found: str) -> Finding:
    if found == "always":
        return ok("appendfsync", found, "Nothing that was answered for is lost.")
    if found == "everysec":
        means = "A sudden end loses the last second or two; jobs settled in it may run again."
        return Finding(
            Level.NOTE, "appendfsync", found, means, "`always` loses nothing and is slower."
        )
    means = "The kernel writes when it likes: a power cut loses half a minute of jobs."
    return Finding(
        Level.LOSES, "appendfsync", found, means, "CONFIG SET appendfsync everysec, or always."
    )


def _snapshots(info: Facts, config: Facts | None, now: float) -> Finding:
    advice = "CONFIG SET appendonly yes, and write it into the server's file."
    if config is not None and not config.get("save"):
        means = "Nothing is written to the disk: a restart loses every job."
        return Finding(Level.LOSES, "appendonly", "no, and no snapshots either", means, advice)
    age = max(0, round(now - int(info.get("rdb_last_save_time", 0))))
    changes = int(info.get("rdb_changes_since_last_save", 0))
    found = f"no; last snapshot {age:,} s ago, {changes:,} changes since"
    means = "A sudden end loses everything since the last snapshot."
    return Finding(Level.LOSES, "appendonly", found, means, advice)


def _replication(info: Facts, config: Facts | None) -> Iterator[Finding]:
    if info.get("role") == "slave":
        where = f"{info.get('master_host')}:{info.get('master_port')}"
        means = "A replica takes no writes: nothing can be stored or settled here."
        advice = "Name the primary in the URL, or the sentinels (redis+sentinel://)."
        found = f"replica of {where}, link {info.get('master_link_status', 'unknown')}"
        yield Finding(Level.LOSES, "role", found, means, advice)
        return
    yield ok("role", "primary")
    count = int(info.get("connected_slaves", 0))
    if not count:
        means = "There is nothing to fail over to; what the disk holds is all there is."
        yield Finding(Level.NOTE, "replicas", "none", means)
        return
    yield from _replicas(info, count)
    if config is not None and config.get("min-replicas-to-write", "0") == "0":
        means = (
            "A primary that is cut off from its replicas goes on taking jobs, and all of them are "
            "gone when a replica has taken its place."
        )
        advice = "CONFIG SET min-replicas-to-write 1, and min-replicas-max-lag 10."
        yield Finding(Level.LOSES, "min-replicas-to-write", "0", means, advice)
    elif config is not None:
        yield ok("min-replicas-to-write", config["min-replicas-to-write"])


def _replicas(info: Facts, count: int) -> Iterator[Finding]:
    means = (
        "Replicas get a write after the client has its answer, so a failover can lose the last "
        "ones. Redis cannot promise otherwise."
    )
    advice = "Jobs that must survive a failover belong into PostgreSQL with a synchronous standby."
    yield Finding(Level.NOTE, "replicas", str(count), means, advice)
    for number in range(count):
        parts = (part.partition("=") for part in info.get(f"slave{number}", "").split(","))
        row = {name: value for name, _, value in parts}
        lag = int(row.get("lag", 0))
        if row.get("state", "online") != "online" or lag > _LAG_MAX_S:
            found = f"{row.get('ip')}:{row.get('port')} {row.get('state')}, {lag} s behind"
            means = "A failover to it loses at least that much."
            yield Finding(
                Level.WARNING, "replica lag", found, means, "Look at its log and network."
            )


def _cluster(said: Answers, address: Address) -> Iterator[Finding]:
    clustered = said.hello.get("mode") == "cluster"
    if not clustered:
        return
    if said.slot is not None:
        yield ok("cluster slot", said.slot, "All keys of the namespace lie in it, on one node.")
    if said.cluster is None:
        yield unseen("cluster_state", "CLUSTER INFO is refused", _RIGHTS)
    elif said.cluster.get("cluster_state") != "ok":
        found = (
            f"{said.cluster.get('cluster_state')}, {said.cluster.get('cluster_slots_ok')} slots ok"
        )
        means = "Slots have no node that serves them; calls to these fail."
        yield Finding(Level.WARNING, "cluster_state", found, means, "Look at CLUSTER NODES.")
    else:
        yield ok("cluster_state", "ok")
    if address.kind != "cluster":
        means = "Only this node is known: when it goes, treadle does not find the others."
        advice = "Write redis+cluster://host1:6379,host2:6379 with several nodes."
        yield Finding(Level.WARNING, "url", "redis:// to a node of a cluster", means, advice)
