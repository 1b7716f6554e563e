"""Redis with an append-only file synced every second: one server, emptied for a repetition."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from bench.engines.base import Server
from bench.harness.processes import BenchError
from treadle.testing.servers import NoServerError, Redis

_SETTINGS: Final = ("appendonly", "appendfsync", "save", "maxmemory-policy")
_REWRITE_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.02


class RedisKeys:
    """The keys of one server; whoever uses it finds none."""

    def __init__(self, url: str) -> None:
        """Use the server behind `url`, all of whose keys belong to the run."""
        self._url = url
        with redis.Redis.from_url(url, decode_responses=True) as client:
            self.facts = _facts(client)
        """The server's version and settings, as it says itself."""

    @contextmanager
    def fresh(self, _: Path) -> Iterator[str]:
        """Empty the server, also of what it wrote to its file, and hand out its URL.

        The file is written anew before anybody is timed, so that no system pays for the fork
        that its predecessor's growth would have started.

        Raises:
            BenchError: the server is away, or writing the file took longer than 30 s.
        """
        try:
            with redis.Redis.from_url(self._url, decode_responses=True) as client:
                _empty(client)
        except redis.RedisError as error:
            raise BenchError(f"Redis could not be emptied: {error}") from error
        yield self._url


def _facts(client: Any) -> dict[str, str]:  # noqa: ANN401 -- its answers have no useful types
    version = client.info()
    said = {name: client.config_get(name)[name] or "(none)" for name in _SETTINGS}
    return {"Redis": version["redis_version"], "allocator": version["mem_allocator"]} | said


def _empty(client: Any) -> None:  # noqa: ANN401 -- as above
    # Only one is carried out at a time, and the system before may have caused one.
    _await_rewrite(client)
    client.flushall()
    client.script_flush()
    client.bgrewriteaof()
    _await_rewrite(client)


def write_anew(url: str) -> None:
    """Let a server write its file anew now, so that it does not begin to while it is timed.

    Raises:
        BenchError: it took longer than 30 s.
    """
    with redis.Redis.from_url(url, decode_responses=True) as client:
        _await_rewrite(client)
        client.bgrewriteaof()
        _await_rewrite(client)


def _await_rewrite(client: Any) -> None:  # noqa: ANN401 -- as above
    deadline = time.monotonic() + _REWRITE_LIMIT_S
    while _rewrites(client):
        if time.monotonic() > deadline:
            raise BenchError("Redis did not write its append-only file anew within 30 s")
        time.sleep(_LOOK_S)


def _rewrites(client: Any) -> bool:  # noqa: ANN401 -- as above
    persistence = client.info("persistence")
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])


@contextmanager
def serve_redis(_: Path) -> Iterator[Server]:
    """Start a server with Redis's default of an append-only file, synced every second.

    Its files are in the machine's temporary folder.

    Raises:
        BenchError: there is no Redis, or it does not start.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Redis())
        except (NoServerError, RuntimeError) as error:
            raise BenchError(str(error)) from error
        yield RedisKeys(server.url)
