"""open_store: from a URL to a store, the one place that knows which schemes there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from treadle.core.errors import SettingsError
from treadle.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.settings import Settings
    from treadle.store.contract import Store


def open_store(url: str, namespace: str, settings: Settings, clock: Clock | None = None) -> Store:
    """Make the store that a URL names; it is opened by its `open` or `open_now`.

    `memory://` is SQLite in memory; `sqlite:///jobs.db` is relative to the working folder,
    `sqlite:////var/lib/jobs.db` absolute; `postgresql://user@host/database` is libpq's;
    `redis://host:port/0` and its kin are listed in `store.redis.engine.address`.

    Raises:
        SettingsError: the URL's scheme is unknown, it names no file, or an extra is missing.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator and not rest:
        return SqliteStore(None, namespace, settings, clock)
    if scheme == "sqlite" and separator:
        return SqliteStore(sqlite_path(url), namespace, settings, clock)
    for server in _SERVERS:
        if scheme in server.schemes and separator:
            return server.store(url)(url, namespace, settings, clock)
    msg = (
        f"{_shown(url)!r} is not a store; write memory://, sqlite:///path/to/file.db, "
        "postgresql://user@host/database or redis://host:port/0"
    )
    raise SettingsError([msg])


class _Server(Struct, frozen=True):
    """A store whose driver is an extra, imported only where its URL is used."""

    schemes: tuple[str, ...]
    module: str
    name: str
    extra: str

    def store(self, url: str) -> Callable[[str, str, Settings, Clock | None], Store]:
        """Import the store.

        Raises:
            SettingsError: the extra is missing.
        """
        try:
            found: Callable[[str, str, Settings, Clock | None], Store] = getattr(
                importlib.import_module(self.module), self.name
            )
        except ImportError as error:
            msg = f'{_shown(url)!r} needs a driver: pip install "treadle[{self.extra}]" ({error})'
            raise SettingsError([msg]) from error
        return found


_SERVERS: Final = (
    _Server(
        ("postgresql", "postgres"), "treadle.store.postgres.store", "PostgresStore", "postgres"
    ),
    _Server(
        tuple(
            f"{scheme}{way}"
            for scheme in ("redis", "rediss")
            for way in ("", "+sentinel", "+cluster")
        ),
        "treadle.store.redis.store",
        "RedisStore",
        "redis",
    ),
)


def sqlite_path(url: str) -> Path:
    """Read the path in a URL of SQLite.

    Raises:
        SettingsError: it names no file.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path or parts.query or parts.fragment or "\0" in path:
        msg = (
            f"{_shown(url)!r} names no file; write sqlite:///relative.db or sqlite:////absolute.db"
        )
        raise SettingsError([msg])
    return Path(path).expanduser()


def _shown(url: str) -> str:
    """Show a URL without its password."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    before, at, after = rest.rpartition("@")
    return f"{scheme}{separator}{'***' if at else before}{at}{after}"
