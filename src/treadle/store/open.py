"""open_store: from a URL to a store, the one place that knows which schemes there are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from treadle.core.errors import SettingsError
from treadle.store.sqlite.store import SqliteStore

_REDIS = ("redis", "rediss")

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.core.clock import Clock
    from treadle.core.settings import Settings
    from treadle.store.contract import Store


def open_store(url: str, namespace: str, settings: Settings, clock: Clock | None = None) -> Store:
    """Make the store that a URL names; it is opened by its `open` or `open_now`.

    `memory://` is SQLite in memory; `sqlite:///jobs.db` is relative to the working folder,
    `sqlite:////var/lib/jobs.db` absolute. `redis://host:6379/0` and its kin are read by
    `store.redis.engine.address`.

    Raises:
        SettingsError: the URL's scheme is unknown, it names no file, it is not of its store's
            form, or the packages of that store are not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator and not rest:
        return SqliteStore(None, namespace, settings, clock)
    if scheme == "sqlite" and separator:
        return SqliteStore(_path(url), namespace, settings, clock)
    if scheme.partition("+")[0] in _REDIS and separator:
        make: Callable[..., Store] = _extra("redis", "treadle.store.redis.store").RedisStore
        return make(url, namespace, settings, clock)
    msg = (
        f"{_shown(url)!r} is not a store; write memory://, sqlite:///path/to/file.db or "
        "redis://host:6379/0"
    )
    raise SettingsError([msg])


def _extra(name: str, module: str) -> Any:  # noqa: ANN401 -- a module known by its name alone
    """Import a store whose packages come with an extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        msg = f'{error.name} is not installed: pip install "treadle[{name}]"'
        raise SettingsError([msg]) from error


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
