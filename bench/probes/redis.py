"""Probe: what Redis itself allows for jobs in batches, and what the choices of the store cost.

Against one server with an append-only file (`everysec`), jobs a second for

- `enqueue` and `exchange`: the store's own scripts and words over one bare connection, no job run
  and no value read: what a job system on this layout cannot exceed;
- `layout`: claim and settle in one script for a hash a job, and for a packed string a job;
- `call`: the smallest script, once a round trip, by the store's connection and by redis-py.

With `--url` it uses a server that runs, and deletes everything in its database first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import redis

from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.outcome import Settlement
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.pool import Pool
from treadle.store.redis.engine.wire import Wire, pack
from treadle.store.redis.keys import base_key, key
from treadle.store.redis.rows import job_words, name_of, settlement_words
from treadle.store.redis.scripts import script
from treadle.testing.servers import Redis

BASE = base_key("probe")
_PATIENCE_S = 60.0
_DAY = 86_400_000_000

_FILL = {
    "hash": """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('%032d', i)
  redis.call('HSET', 'job:' .. id, 'task', 'bench.mark', 'queue', 'default', 'state', 'ready',
    'call', ARGV[3], 'created_at', '1763990000123456')
  redis.call('ZADD', 'ready', 0, id)
end""",
    "string": """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('%032d', i)
  redis.call('MSET', 'job:' .. id, cmsgpack.pack({'ready', 0, 0, 'bench.mark', 'default', 0,
    1763990000123456, 0, '', 0, 0, '', '', ''}), 'call:' .. id, ARGV[3])
  redis.call('ZADD', 'ready', 0, id)
end""",
}
_WORK = {
    "hash": """
local best, held, over, rows = redis.call('ZPOPMIN', 'ready', ARGV[1]), {'held'}, {'ended'}, {}
for i = 1, #best, 2 do
  local key = 'job:' .. best[i]
  rows[#rows + 1] = redis.call('HMGET', key, 'state', 'number', 'attempt', 'task', 'queue', 'call',
    'created_at', 'priority', 'forgiven', 'crashes', 'run_at', 'expires_at', 'parked_at')
  redis.call('HSET', key, 'state', 'running', 'number', '1', 'attempt', '1', 'worker', 'host-1-ab',
    'started_at', '1763990000123456')
  held[#held + 1] = best[i] .. '1'
end
if #rows == 0 then return 0 end
redis.call('SADD', unpack(held))
redis.call('SREM', unpack(held))
for i = 1, #best, 2 do
  local key = 'job:' .. best[i]
  redis.call('HMGET', key, 'state', 'number', 'worker', 'queue', 'created_at')
  redis.call('HSET', key, 'state', 'succeeded', 'finished_at', '1763990000123456', 'keep_until',
    '1763990000123456', 'ran', '12', 'result', '[1,1]')
  over[#over + 1], over[#over + 2] = '1763990000123456', best[i]
end
redis.call('ZADD', unpack(over))
return #rows""",
    "string": """
local best, held, over = redis.call('ZPOPMIN', 'ready', ARGV[1]), {'held'}, {'ended'}
local keys, calls, write = {}, {}, {}
if #best == 0 then return 0 end
for i = 1, #best, 2 do
  keys[#keys + 1], calls[#calls + 1] = 'job:' .. best[i], 'call:' .. best[i]
  held[#held + 1] = best[i] .. '1'
end
local heads = redis.call('MGET', unpack(keys))
redis.call('MGET', unpack(calls))
for i, head in ipairs(heads) do
  local job = cmsgpack.unpack(head)
  job[1], job[2], job[3], job[13], job[14] = 'running', 1, 1, 'host-1-ab', 1763990000123456
  write[2 * i - 1], write[2 * i] = keys[i], cmsgpack.pack(job)
end
redis.call('MSET', unpack(write))
redis.call('SADD', unpack(held))
redis.call('SREM', unpack(held))
for i, head in ipairs(redis.call('MGET', unpack(keys))) do
  local job = cmsgpack.unpack(head)
  job[1], job[15], job[16], job[17] = 'succeeded', 1763990000123456, 1763990000123456, '[1,1]'
  write[2 * i] = cmsgpack.pack(job)
  over[#over + 1], over[#over + 2] = '1763990000123456', best[2 * i - 1]
end
redis.call('MSET', unpack(write))
redis.call('ZADD', unpack(over))
return #keys""",
}


class Probe:
    """One bare connection and a client that asks what the server's processor has done."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url)
        self.wire: Wire = Pool(read_address(url)).connect(time.monotonic() + _PATIENCE_S)

    def close(self) -> None:
        """Close both."""
        self.wire.close()
        self.client.close()

    def ask(self, *words: str | bytes | int) -> Any:  # noqa: ANN401 -- whatever the server says
        """Send one command."""
        answer = self.wire.call_now(pack(words), time.monotonic() + _PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, name: str, *words: str | bytes | int) -> Any:  # noqa: ANN401 -- as `ask`
        """Run a script of the store."""
        return self.ask("EVALSHA", script(name).sha, 1, BASE, "", *words)

    @contextlib.contextmanager
    def measured(self, found: dict[str, float], name: str, jobs: int) -> Iterator[None]:
        """Note jobs a second, and microseconds of the server's processor a job."""
        before, start = self._server_s(), time.perf_counter()
        yield
        found[f"{name}_per_s"] = round(jobs / (time.perf_counter() - start))
        found[f"{name}_server_us"] = round((self._server_s() - before) / jobs * 1e6, 1)

    def _server_s(self) -> float:
        said = self.client.info("cpu")
        return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])


def measure(url: str, count: int, batch: int) -> dict[str, float]:
    """Measure everything for one size of batches."""
    found: dict[str, float] = {"batch": batch, "count": count}
    with contextlib.closing(Probe(url)) as probe:
        _line(probe, found, count, batch)
        for layout, fill in _FILL.items():
            probe.client.flushdb()
            for first in range(0, count, 1_000):
                probe.ask("EVAL", fill, 0, first, first + 999, b"x" * 28)
            found[f"{layout}_bytes"] = round(probe.client.info("memory")["used_memory"] / count)
            with probe.measured(found, f"layout_{layout}", count):
                while probe.ask("EVAL", _WORK[layout], 0, batch):
                    pass
        _calls(probe, found, count // 10)
        probe.client.flushdb()
    return found


def _line(probe: Probe, found: dict[str, float], count: int, batch: int) -> None:
    """Put jobs in and take them out with the store's own scripts.

    Raises:
        RuntimeError: not every job was claimed and settled, so a rate would say nothing.
    """
    probe.client.flushdb()
    for name in ("enqueue", "exchange"):
        probe.ask("SCRIPT", "LOAD", script(name).text)
    probe.client.hset(key("probe", "worker", "w1"), "info", "{}")
    jobs = [NewJob(new_id(), "bench.mark", b"[[1,%d],{}]" % n) for n in range(count)]
    with probe.measured(found, "enqueue", count):
        for first in range(0, count, batch):
            probe.run("enqueue", "", *job_words(jobs[first : first + batch]))
    done: list[Settlement] = []
    settled = 0
    with probe.measured(found, "exchange", count):
        while True:
            head = ("w1", new_id(), batch, 1, "", batch)
            answer = probe.run("exchange", *head, *settlement_words(done))
            settled, rows = settled + answer[1].count(b"1"), answer[5]
            done = [
                Settlement(
                    bytes.fromhex(name_of(row)[0].decode()), 1, JobState.SUCCEEDED, 1, "succeeded",
                    result=b"[1,1]", keep=_DAY, ran=12,
                )
                for row in rows
            ]  # fmt: skip
            if not rows:
                break
    if settled != count:
        raise RuntimeError(
            f"{settled:,} of {count:,} jobs were settled: the probe's words are no longer those "
            "of the scripts; compare them with `RedisStore._enqueue` and `RedisStore.exchange`"
        )


def _calls(probe: Probe, found: dict[str, float], count: int) -> None:
    """Call the smallest script by two connections."""
    sha = probe.ask("SCRIPT", "LOAD", "return 1")
    with probe.measured(found, "call_own", count):
        for _ in range(count):
            probe.ask("EVALSHA", sha, 1, BASE, "a", "b")
    with probe.measured(found, "call_redis_py", count):
        for _ in range(count):
            probe.client.evalsha(sha, 1, BASE, "a", "b")


def main() -> None:
    """Print one line of JSON for each size of batches."""
    parser = argparse.ArgumentParser(prog="bench.probes.redis")
    parser.add_argument("--url", help="a server that runs; its database is emptied")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[100, 500])
    said = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = said.url or stack.enter_context(Redis()).url
        for batch in said.batch:
            sys.stdout.write(json.dumps(measure(url, said.count, batch)) + "\n")


if __name__ == "__main__":
    main()
