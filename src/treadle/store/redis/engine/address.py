"""Addresses: what a store's URL says of where the server is and how to get in.

    redis://[user:password@]host[:port][/db]      one server
    rediss://...                                  the same over TLS
    redis+sentinel://host[:port],.../name[/db]    the primary that these sentinels name
    redis+cluster://host[:port],...               the node of a cluster that holds the namespace

`rediss+sentinel` and `rediss+cluster` speak TLS. Options stand behind `?`: `ssl_ca_certs`,
`ssl_certfile`, `ssl_keyfile` name files, `ssl_cert_reqs=none` trusts any certificate,
`sentinel_username` and `sentinel_password` open the sentinels. Passwords are never shown.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from treadle.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES = (
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS = (*_TLS_FILES, "ssl_cert_reqs", "sentinel_username", "sentinel_password")
_PORT, _SENTINEL_PORT = 6379, 26379
_PORT_MAX = 65_535

Place = tuple[str, int]


class Address(Struct, frozen=True, kw_only=True):
    """What a URL says, read and checked."""

    kind: str
    """`server`, `sentinel` or `cluster`."""
    places: tuple[Place, ...]
    db: int = 0
    primary: str = ""
    """The name under which sentinels know the primary."""
    login: tuple[str, ...] = ()
    """The words after AUTH: nothing, a password, or a user and a password."""
    sentinel_login: tuple[str, ...] = ()
    tls: bool = False
    tls_files: dict[str, str] = {}
    tls_unchecked: bool = False

    @property
    def shown(self) -> str:
        """The address as it may be shown, without user and password."""
        scheme = "rediss" if self.tls else "redis"
        scheme += "" if self.kind == "server" else f"+{self.kind}"
        places = ",".join(f"{host}:{port}" for host, port in self.places)
        name = f"/{self.primary}" if self.primary else ""
        return f"{scheme}://{places}{name}" + ("" if self.kind == "cluster" else f"/{self.db}")


def read_address(url: str) -> Address:
    """Read a URL.

    Raises:
        SettingsError: it is not of one of the forms; says which part, and never the password.
    """
    scheme, separator, _ = url.partition("://")
    if scheme not in _SCHEMES or not separator:
        raise SettingsError([f"{scheme!r} is no scheme of Redis; there are {', '.join(_SCHEMES)}"])
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
        kind = scheme.partition("+")[2] or "server"
        places = _places(parts.netloc.rpartition("@")[2], kind)
        primary, db = _path(parts.path, kind)
    except ValueError as error:
        raise SettingsError([f"a {scheme}:// URL cannot be read: {_said(error)}"]) from None
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        names = ", ".join(unknown)
        raise SettingsError([f"a {scheme}:// URL has no option {names}; {', '.join(_OPTIONS)}"])
    return Address(
        kind=kind,
        places=places,
        db=db,
        primary=primary,
        login=_login(unquote(user or ""), None if password is None else unquote(password)),
        sentinel_login=_login(
            options.get("sentinel_username", ""), options.get("sentinel_password")
        ),
        tls=scheme.startswith("rediss"),
        tls_files={name: options[name] for name in _TLS_FILES if name in options},
        tls_unchecked=options.get("ssl_cert_reqs") == "none",
    )


def tls_context(address: Address) -> ssl.SSLContext | None:
    """Make what a TLS connection needs; None for a plain one.

    Raises:
        SettingsError: a file cannot be read, or is none of its kind.
    """
    if not address.tls:
        return None
    files: Mapping[str, str] = address.tls_files
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
        if "ssl_certfile" in files:
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    except OSError as error:
        named = ", ".join(f"{name}={path}" for name, path in files.items())
        raise SettingsError([f"the TLS files of {address.shown} ({named}): {error}"]) from error
    if address.tls_unchecked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _places(text: str, kind: str) -> tuple[Place, ...]:
    usual = _SENTINEL_PORT if kind == "sentinel" else _PORT
    places = tuple(_place(part, usual) for part in text.split(","))
    if kind == "server" and len(places) > 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    return places


def _place(text: str, usual: int) -> Place:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        host = "localhost"
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
        raise ValueError(f"{port!r} is no port")
    return host, int(port) if port else usual


def _path(path: str, kind: str) -> tuple[str, int]:
    """Read the primary's name and the number of the database."""
    words = [unquote(word) for word in path.split("/") if word]
    primary = ""
    if kind == "sentinel":
        if not words:
            raise ValueError("it names no primary: write redis+sentinel://host:26379/NAME")
        primary = words.pop(0)
    if len(words) > 1 or (words and not (words[0].isascii() and words[0].isdigit())):
        raise ValueError(f"{'/'.join(words)!r} is no number of a database")
    if kind == "cluster" and words and words != ["0"]:
        raise ValueError("a cluster has the database 0 alone")
    return primary, int(words[0]) if words else 0


def _login(user: str, password: str | None) -> tuple[str, ...]:
    if password is None:
        return ()
    return (user, password) if user else (password,)


def _said(error: ValueError) -> str:
    """Give an error's sentence, unless the standard library might quote the URL in it."""
    return str(error) if "://" not in str(error) and "@" not in str(error) else "its form is wrong"
