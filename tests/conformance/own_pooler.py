"""A PgBouncer of the tests' own in front of the session's PostgreSQL server."""

import os
from collections.abc import Iterator

import pytest

from treadle.testing.servers import NoServerError, PgBouncer, pgbouncer_program


def _found() -> bool:
    try:
        pgbouncer_program()
    except NoServerError:
        return False
    return True


needs_pooler = pytest.mark.skipif(
    "CI" not in os.environ and not _found(), reason="there is no pgbouncer on this machine"
)


@pytest.fixture(scope="module")
def pooler(postgres_url: str) -> Iterator[PgBouncer]:
    """Run one in transaction mode: fewer connections to the server than a store would open."""
    with PgBouncer(postgres_url, connections=8) as pooler:
        yield pooler
