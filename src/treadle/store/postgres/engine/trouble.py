"""Trouble: what an error of the server or the connection means, and what to do about it."""

from __future__ import annotations

from treadle.core.errors import SchemaMismatch, StoreDamaged, StoreError, StoreUnavailable
from treadle.store.lacking import no_descriptor

SERVER_MIN = 130_000
_RETRIED = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not to be had: nothing was written."""
_NO_PREPARED = frozenset({"26000", "42P05"})
"""A prepared statement is missing or is there already: a pooler hands the server around."""

_AWAY = {
    "57P01": "the server closed the connection; it is restarted, or an administrator ended it",
    "57P02": "the server crashed and recovers",
    "57P03": "the server is starting up, shutting down or recovering",
    "57014": "the statement took longer than the store's timeout and was cancelled",
    "53100": "the server's disk is full; free some space",
    "53200": "the server is out of memory",
    "53300": "the server has no connection free; raise max_connections or use a pooler",
    "25006": "the server is read-only, a replica or one in recovery; connect to the primary",
    "28P01": "the password is wrong; check the URL",
    "28000": "the server refuses this user; check the URL and the server's pg_hba.conf",
    "3D000": "there is no such database; create it, or check the URL",
    "42501": "the database's user lacks a right; grant it (usage and create on the schema, all "
    "on treadle's tables)",
}
_AWAY_CLASSES = ("08", "53", "57", "58", "XX")
_LASTING = frozenset({"28P01", "28000", "3D000", "42501"})
"""States that no time ends: somebody has to mend them."""
_DAMAGED = frozenset({"XX001", "XX002"})
"""A page or an index does not hold what it should (the server's appendix of error codes)."""
_SAID = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("too many clients", "53300"),
    ("connection slots", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("in recovery mode", "57P03"),
    ("accepting connections", "57P03"),
)
"""States by the words of a greeting that was refused: libpq hands on no more of it."""
_MISSING = frozenset({"42P01", "42703", "3F000"})


class ServerError(Exception):
    """The server refused a statement; its transaction is rolled back."""

    def __init__(self, state: str, message: str) -> None:
        self.state = state
        super().__init__(message)

    @property
    def is_transient(self) -> bool:
        """Tell whether the same transaction may go through when it is tried again at once."""
        return self.state in _RETRIED

    @property
    def is_about_prepared(self) -> bool:
        """Tell whether prepared statements do not outlive a transaction here."""
        return self.state in _NO_PREPARED


class ConnectionLost(Exception):  # noqa: N818 -- reads as the fact it reports
    """The connection broke, or could not be made."""

    def __init__(self, message: str, *, may_try: bool = False) -> None:
        self.may_try = may_try
        """Nothing was sent, and the server may be back in a moment."""
        super().__init__(" ".join(message.split()))


def explained(error: ServerError, name: str, url: str) -> StoreError:
    """Turn the server's error into one that says what to do."""
    if error.state in _MISSING:
        return SchemaMismatch(f"{name}: {error}; run `treadle migrate --store '{url}'`")
    if error.state in _DAMAGED:
        return StoreDamaged(
            f"{name}: its files are damaged, and waiting does not mend them: check the disk and "
            "the server's log, find what else is with pg_amcheck, restore it from a backup "
            f"({error})"
        )
    advice = _AWAY.get(error.state)
    if advice is not None:
        passing = error.state not in _LASTING
        return StoreUnavailable(f"{name}: {advice} ({error})", passing=passing)
    if error.state.startswith(_AWAY_CLASSES) or error.is_transient or error.is_about_prepared:
        return StoreUnavailable(f"{name}: {error}", passing=True)
    # Sent again it would be refused again: whoever sent a batch sends its rows apart.
    return StoreError(f"{name} refused what was to be written: {error}")


def is_duplicate(error: StoreError) -> bool:
    """Tell whether the server refused a row because its key is there already."""
    return _state(error) == "23505"


def is_misplaced(error: StoreError) -> bool:
    """Tell whether a row was written to a table that does not take it, or is not there."""
    return _state(error) in {"23514", "42P01"}


def is_hindered(error: StoreError) -> bool:
    """Tell whether a table could not be made or dropped: for a lock, a right, or another's."""
    return _state(error) in {"55P03", "57014", "42501", "42P07", "40P01"}


def _state(error: StoreError) -> str:
    return error.__cause__.state if isinstance(error.__cause__, ServerError) else ""


def check_age(version: int, name: str) -> None:
    """Refuse a server that is too old, by the version of its greeting (120004 for 12.4).

    Raises:
        StoreUnavailable: it is older than 13.
    """
    if 0 < version < SERVER_MIN:
        raise StoreUnavailable(
            f"{name} is version {version // 10_000}; treadle needs {SERVER_MIN // 10_000} or "
            "later: upgrade the server, or use another one"
        )


def broken(error: ConnectionLost, name: str) -> StoreUnavailable:
    """Turn a connection that broke in mid-call into an error that says what to do."""
    if "statement pooling" in str(error):
        return StoreUnavailable(
            f"{name} is behind a pooler in statement mode, in which nobody begins a transaction; "
            f"set pool_mode to transaction or session there ({error})"
        )
    return StoreUnavailable(
        f"the connection to {name} broke: {error}; it is not known whether the call was carried "
        "out, the same one may be sent again",
        passing=True,
    )


def unreachable(error: ConnectionLost, name: str) -> StoreUnavailable:
    """Turn a failed attempt to connect into an error that says what to do."""
    said = str(error)
    lack = no_descriptor()
    if lack is not None:
        return StoreUnavailable(f"{name} cannot be reached: {lack}", passing=True)
    if "certificate" in said or "does not support SSL" in said:
        return StoreUnavailable(
            f"{name}: no TLS with it: {said}; name the authority that signed its certificate with "
            "sslrootcert=FILE, or correct the host or sslmode"
        )
    state = next((state for needle, state in _SAID if needle in said), "")
    if not state and "does not exist" in said:
        state = "3D000" if "database" in said else "28000"
    if state:
        passing = state not in _LASTING
        return StoreUnavailable(f"{name}: {_AWAY[state]} ({said})", passing=passing)
    # A server that answers so and not otherwise refuses the next one as well; none may come back.
    refused = "FATAL" in said and "terminating connection" not in said
    return StoreUnavailable(
        f"{name} cannot be reached: {said}; check that the server runs and that the URL is right",
        passing=not refused,
    )
