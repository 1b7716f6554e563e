"""open_store: from a URL to a store, the one place that knows which schemes there are."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from treadle.core.errors import SettingsError
from treadle.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.settings import Settings
    from treadle.store.contract import Store


def open_store(url: str, namespace: str, settings: Settings, clock: Clock | None = None) -> Store:
    """Make the store that a URL names; it is opened by its `open` or `open_now`.

    `memory://` is SQLite in memory; `sqlite:///jobs.db` is relative to the working folder,
    `sqlite:////var/lib/jobs.db` absolute; `postgresql://user@host/database` is libpq's.

    Raises:
        SettingsError: the URL's scheme is unknown, it names no file, or an extra is missing.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator and not rest:
        return SqliteStore(None, namespace, settings, clock)
    if scheme == "sqlite" and separator:
        return SqliteStore(_path(url), namespace, settings, clock)
    if scheme in {"postgresql", "postgres"} and separator:
        return _postgres(url, namespace, settings, clock)
    msg = (
        f"{_shown(url)!r} is not a store; write memory://, sqlite:///path/to/file.db or "
        "postgresql://user@host/database"
    )
    raise SettingsError([msg])


def _postgres(url: str, namespace: str, settings: Settings, clock: Clock | None) -> Store:
    try:
        module = importlib.import_module("treadle.store.postgres.store")
    except ImportError as error:
        msg = (
            f'{_shown(url)!r} needs PostgreSQL\'s driver: pip install "treadle[postgres]" ({error})'
        )
        raise SettingsError([msg]) from error
    store: Store = module.PostgresStore(url, namespace, settings, clock)
    return store


def _path(url: str) -> Path:
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
    before, at, after = rest.rpartition("@")
    return f"{scheme}{separator}{'***' if at else before}{at}{after}"
