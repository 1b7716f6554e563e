"""The mark of tests that start Redis servers of their own, to kill, fill or misplace them.

A server that somebody else runs is enough for the conformance suite, never for these. Where there
is no program they are skipped; in CI they fail, as everything does that cannot be tested there.
"""

import os

import pytest

from treadle.testing.servers import NoServerError, redis_program


def _found() -> bool:
    try:
        redis_program()
    except NoServerError:
        return False
    return True


needs_program = pytest.mark.skipif(
    "CI" not in os.environ and not _found(), reason="there is no redis-server on this machine"
)
