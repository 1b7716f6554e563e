"""What PostgreSQL has read in an index, as the tests of long lines count it."""

import time
from typing import Final

import psycopg

WAIT_S: Final = 30.0


def entries_read(url: str, schema: str, index: str) -> int:
    """Count what was read in an index, once the sessions that did so have ended.

    They are those whose `application_name` is the schema's: a session tells what it has read when
    it ends.
    """
    with psycopg.connect(url, autocommit=True) as db:
        deadline = time.monotonic() + WAIT_S
        others = "select 1 from pg_stat_activity where application_name = %s"
        while db.execute(others, [schema]).fetchone():
            assert time.monotonic() < deadline, "the store's sessions have not ended"
            time.sleep(0.01)
        row = db.execute(
            "select idx_tup_read from pg_stat_user_indexes "
            "where schemaname = %s and indexrelname = %s",
            [schema, index],
        ).fetchone()
    assert row is not None
    return int(row[0])
