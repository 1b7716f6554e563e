"""Probe: what SQLite itself allows for jobs in batches of 200, with the durability treadle keeps.

Write-ahead log, `synchronous=FULL`, one connection, and a table as wide as a job with the index
that a claim rides. It inserts jobs, then takes them out: each transaction settles the batch
before and claims the next one, in claim order. No job is run and nothing is decoded, so a job
system on this file cannot be faster, and how near it comes is what its bar says.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from pathlib import Path

BATCH = 200

_SCHEMA = """
CREATE TABLE jobs (
    id BLOB PRIMARY KEY, task TEXT NOT NULL, queue TEXT NOT NULL, priority INTEGER NOT NULL,
    tag REAL NOT NULL, state TEXT NOT NULL, run_at INTEGER NOT NULL, created_at INTEGER NOT NULL,
    started_at INTEGER, finished_at INTEGER, attempt INTEGER NOT NULL, claim INTEGER NOT NULL,
    attempts_max INTEGER NOT NULL, worker TEXT, args BLOB NOT NULL, result BLOB
);
CREATE INDEX ready ON jobs (queue, priority DESC, tag, id) WHERE state = 'ready';
"""
_INSERT = """
INSERT INTO jobs (id, task, queue, priority, tag, state, run_at, created_at, attempt, claim,
                  attempts_max, args)
VALUES (?, 'bench.mark', 'default', 0, ?, 'ready', ?, ?, 0, 0, 5, ?)
"""
_CLAIM = """
UPDATE jobs SET state = 'running', attempt = attempt + 1, claim = claim + 1, worker = 'w1',
                started_at = ?
WHERE id IN (SELECT id FROM jobs WHERE queue = 'default' AND state = 'ready'
             ORDER BY priority DESC, tag, id LIMIT ?)
RETURNING id, task, attempt, claim, args
"""
_SETTLE = """
UPDATE jobs SET state = 'succeeded', result = ?, finished_at = ?
WHERE id = ? AND claim = ? AND state = 'running'
"""


def measure(directory: Path, jobs: int) -> dict[str, float]:
    """Return jobs a second inserted and jobs a second claimed and settled, in batches of 200."""
    path = directory / "probe.db"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        insert_s = _timed_insert(connection, jobs)
        exchange_s = _timed_exchange(connection)
        done = connection.execute("SELECT count(*) FROM jobs WHERE state = 'succeeded'")
        settled = int(done.fetchone()[0])
    finally:
        connection.close()
    return {
        "insert_jobs_per_s": jobs / insert_s,
        "exchange_jobs_per_s": settled / exchange_s,
        "count": settled,
    }


def _timed_insert(connection: sqlite3.Connection, jobs: int) -> float:
    """Insert `jobs` rows under ascending ids, 200 a transaction; return the seconds."""
    start = time.perf_counter()
    for first in range(0, jobs, BATCH):
        now = time.time_ns()
        rows = [
            (_time_ordered_id(now, number), float(number), now, now, b"[1,[%d]]" % number)
            for number in range(first, min(first + BATCH, jobs))
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows)
        connection.execute("COMMIT")
    return time.perf_counter() - start


def _timed_exchange(connection: sqlite3.Connection) -> float:
    """Settle the batch before and claim the next, one transaction each, until none is left."""
    claimed: list[tuple[bytes, str, int, int, bytes]] = []
    start = time.perf_counter()
    more = True
    while more:
        now = time.time_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_SETTLE, [(b"[1,1]", now, row[0], row[3]) for row in claimed])
        claimed = connection.execute(_CLAIM, (now, BATCH)).fetchall()
        connection.execute("COMMIT")
        more = bool(claimed)
    return time.perf_counter() - start


def _time_ordered_id(now_ns: int, number: int) -> bytes:
    """Return 16 bytes that sort by time and then by number, as ids of jobs do.

    The last six would be random; drawing them is not SQLite's work, so they are fixed here.
    """
    return (now_ns // 1_000_000).to_bytes(6) + number.to_bytes(4) + b"random"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.probes.sqlite_batch")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.directory, options.count)) + "\n")
