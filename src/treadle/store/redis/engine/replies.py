"""Replies: what a server's refusals mean, in the project's errors.

A refusal begins with a word in capitals. `is_passing` tells those that may be over in a moment;
`refused` makes the error that is raised when they are not.
"""

from __future__ import annotations

import re

from treadle.core.errors import StoreError, StoreUnavailable

_PASSING = ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "UNBLOCKED")
_AWAY = {
    "LOADING": "it is reading its files after a start; wait until it has",
    "BUSY": "a script of somebody else holds it up; end that one with SCRIPT KILL",
    "MASTERDOWN": "it is a replica that has lost its primary; name the primary in the URL",
    "CLUSTERDOWN": "its cluster is down or lacks slots; look at CLUSTER INFO",
    "TRYAGAIN": "the namespace's slot is being moved; the move has not ended in time",
    "READONLY": "it is a read-only replica; name the primary in the URL, or use redis+sentinel://",
    "OOM": "its memory is full (maxmemory) and nothing was written; raise the limit or prune. "
    "Jobs that it has still run and settle",
    "MISCONF": "it cannot write its files and takes no writes until it can; look at its log",
    "NOREPLICAS": "it has fewer replicas than it is told to have (min-replicas-to-write)",
    "NOSCRIPT": "its scripts are flushed again and again (SCRIPT FLUSH)",
    "MOVED": "the namespace's slot moves from node to node without end; look at CLUSTER NODES",
    "ASK": "the namespace's slot is being moved; the move has not ended in time",
}
_BARRED = {
    "NOAUTH": "it asks for a password; write redis://:PASSWORD@host or redis://USER:PASSWORD@host",
    "WRONGPASS": "it does not know this user and password; correct them in the URL",
    "NOPERM": "this user may not do what treadle needs; give it the rights "
    "~{treadle:* resetchannels &{treadle:* +@all -@dangerous (ACL SETUSER)",
    "DENIED": "it takes no connections from other machines (protected mode); set a password there",
}
"""Refusals of whoever asks, not of what is asked: once mended, the same call goes through."""
_SHUT = {"CROSSSLOT": "it is a cluster that does not keep a namespace in one slot"}
_PHRASES = {
    "SELECT is not allowed": (
        "it is a cluster, which has the database 0 alone; write redis+cluster://host:6379"
    ),
    "DB index": "it has no database of that number; take another one, or raise its `databases`",
    "invalid password": _BARRED["WRONGPASS"],
    "AUTH": _BARRED["WRONGPASS"],
}
"""Refusals of a greeting that begin with no word of their own."""
_NO_RIGHT = ("The user executing the script can't ", "ACL failure in script: ")
"""A right that is lacking inside a script, in the words of Redis 6 and 7.0, then of 7.2 and Valkey:
a phrase without a word of its own."""
_CROWDED = "max number of clients"
_KNOWS_NO_USERS = "arguments for 'auth'"
"""Before Redis 6 there was one password and no user beside it."""
SERVER_MIN = (6, 2)
OLDEST = "older than 6"
"""All that is known of the age of a server that has not learnt to say its version in a greeting."""

_INNER = re.compile(rf"-({'|'.join((*_AWAY, *_BARRED))}) ")


def word_of(reply: BaseException) -> str:
    """Give the word of a refusal: the first one, or the one of a command inside a script.

    Redis 6 puts that behind words of its own; later servers lead with it.
    """
    said = str(reply)
    if any(phrase in said for phrase in _NO_RIGHT):
        return "NOPERM"
    inner = _INNER.search(said)
    return inner[1] if inner is not None else said.partition(" ")[0].lstrip("-")


def is_passing(reply: Exception) -> bool:
    """Tell a refusal that did nothing and may be over in a moment."""
    return word_of(reply) in _PASSING


def is_forbidden(error: StoreError) -> bool:
    """Tell whether this user has not the right to a command."""
    return error.__cause__ is not None and word_of(error.__cause__) == "NOPERM"


def refused(name: str, reply: Exception) -> StoreError:
    """Make the error of a refusal; `name` is the server as it may be shown.

    Who is not let in is told that the store cannot answer now: a password may be changed while
    workers run, and what they have to settle is kept until it is mended.
    """
    word, said = word_of(reply), str(reply)
    advice = _AWAY.get(word) or _BARRED.get(word)
    if advice is not None:
        return StoreUnavailable(f"{name}: {advice} ({_short(said)})", passing=word in _AWAY)
    useless = _useless(name, word, said)
    if useless:
        return StoreError(useless)
    if word == "MISUSED":
        _, key, found, kind = said.split(" ")
        return StoreError(
            f"{name}: the key {key} is a {found} where treadle keeps a {kind}; somebody else wrote "
            "it: rename or delete it, and give treadle a database or server of its own"
        )
    if _CROWDED in said:
        return StoreUnavailable(
            f"{name}: it has no connection free; raise its maxclients ({_short(said)})",
            passing=True,
        )
    for phrase, advice in _PHRASES.items():
        if phrase in said:
            return StoreUnavailable(f"{name}: {advice} ({_short(said)})")
    return StoreError(f"{name} refused a call: {_short(said)}")


def _useless(name: str, word: str, said: str) -> str:
    """Say why no waiting and no password makes a server one for treadle; nothing when it may be."""
    if _KNOWS_NO_USERS in said:
        return too_old(name, OLDEST)
    return f"{name}: {_SHUT[word]} ({_short(said)})" if word in _SHUT else ""


def misplaced(kind: str, *, version: str, mode: str, name: str) -> str:
    """Say what is wrong with a server by its greeting; nothing when it is the right one.

    `kind` is what the URL expects there: `server`, `sentinel` (whose primary this is) or `cluster`.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < SERVER_MIN:
        return too_old(name, version)
    if mode == "sentinel":
        return f"{name} is a sentinel; write redis+sentinel://host:26379/NAME"
    if kind == "cluster" and mode not in ("cluster", ""):
        return f"{name} is no node of a cluster; write redis://host:6379/0"
    return ""


def too_old(name: str, version: str) -> str:
    """Say that a server is too old."""
    wanted = ".".join(map(str, SERVER_MIN))
    return (
        f"{name} is Redis {version}; treadle needs {wanted} or later, or Valkey: upgrade the "
        "server, or use another one"
    )


def _short(said: str) -> str:
    return ascii(said[:300])[1:-1]
