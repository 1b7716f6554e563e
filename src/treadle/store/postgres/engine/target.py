"""The target: what a URL says about the server, the schema, and what may be shown of it.

Everything after the `?` goes to libpq as it is (`sslmode`, `target_session_attrs`, ...), but
for `schema`, which is treadle's own: the schema that its tables are in.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from msgspec import Struct
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from treadle.core.errors import SettingsError

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PORT_MAX = 65_535
_ALWAYS = {"client_encoding": "utf8"}
_UNLESS_SAID = {
    "fallback_application_name": "treadle",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


class Target(Struct, frozen=True):
    """A database: how to connect to it, and what to call it."""

    conninfo: bytes
    schema: str | None
    name: str
    """For messages: without password and parameters."""
    url: str
    """For advice: the URL without its password."""


def read_target(url: str, timeout: float) -> Target:
    """Read a URL; `timeout` (seconds) also bounds how long sent data may stay unacknowledged.

    Raises:
        SettingsError: it has not the form of a PostgreSQL URL.
    """
    parts = urlsplit(url)
    said = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(said).get("schema")
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise SettingsError(
            [f"schema={schema!r}: a schema is 1 to 63 small letters, digits and '_'"]
        )
    kept = [(name, value) for name, value in said if name != "schema"]
    rest = urlencode(kept, quote_via=quote)
    shown = _shown(url)
    try:
        asked = conninfo_to_dict(urlunsplit(parts._replace(query=rest)))
    except Error as error:
        # What libpq says may quote a piece of the password when that is what it fell over.
        why = "its form is wrong" if "@" in url else str(error).strip()
        raise SettingsError(
            [f"{shown!r}: {why}; write postgresql://user:password@host:5432/database"]
        ) from None
    if not all(_is_port(port) for port in str(asked.get("port", "")).split(",")):
        raise SettingsError([f"{shown!r}: a port is a number from 1 to {_PORT_MAX}"])
    milliseconds = str(max(1_000, int(timeout * 1_000)))
    words = {**_UNLESS_SAID, "tcp_user_timeout": milliseconds, **asked, **_ALWAYS}
    where = f"{asked.get('host', 'localhost')}:{asked.get('port', 5432)}"
    name = f"PostgreSQL at {where}, database {asked.get('dbname', asked.get('user', ''))!r}"
    return Target(make_conninfo("", **words).encode(), schema, name, shown)


def _is_port(text: str) -> bool:
    """Tell whether a text is a port, or leaves the usual one."""
    return not text or (text.isascii() and text.isdigit() and 0 < int(text) <= _PORT_MAX)


def _shown(url: str) -> str:
    """Show a URL without its password, wherever that stands in it."""
    scheme, _, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    user = before.partition(":")[0]
    after = re.sub(r"(?i)\b(password|sslpassword)=[^&]*", r"\1=***", after)
    return f"{scheme}://{user}{':***' if ':' in before else ''}{at}{after}"
