"""What a URL of Redis says, and what a server's refusals are made of, without a server."""

import pytest

from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.replies import is_passing, refused, word_of

IN_A_SCRIPT = "ERR Error running script (call to f_0a1b): @user_script:9: @user_script: 9: -"
AWAY = {
    "LOADING Redis is loading the dataset in memory": "reading its files",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL": "SCRIPT KILL",
    "READONLY You can't write against a read only replica.": "replica",
    f"{IN_A_SCRIPT}READONLY You can't write against a read only replica.": "replica",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "primary",
    "CLUSTERDOWN Hash slot not served": "CLUSTER INFO",
    "TRYAGAIN Multiple keys request during rehashing of slot": "being moved",
    "OOM command not allowed when used memory > 'maxmemory'.": "maxmemory",
    f"{IN_A_SCRIPT}OOM command not allowed when used memory > 'maxmemory'.": "maxmemory",
    "MISCONF Redis is configured to save RDB snapshots, but it is unable to": "its log",
    f"{IN_A_SCRIPT}MISCONF Redis is configured to save RDB snapshots": "its log",
    "NOREPLICAS Not enough good replicas to write.": "min-replicas-to-write",
}
BARRED = {
    "NOAUTH Authentication required.": "password",
    "WRONGPASS invalid username-password pair or user is disabled.": "password",
    "ERR invalid password": "password",
    "ERR AUTH <password> called without any password configured for the default user.": "password",
    "NOPERM this user has no permissions to run the 'evalsha' command": "ACL SETUSER",
    f"{IN_A_SCRIPT[:-1]}The user executing the script can't run this command": "ACL SETUSER",
    "ERR The user executing the script can't run this command or subcommand script: 0a1b, on "
    "@user_script:9.": "ACL SETUSER",
    "ERR ACL failure in script: User shop has no permissions to run the 'zadd' command "
    "script: 0a1b, on @user_script:9.": "ACL SETUSER",
    "ERR ACL failure in script: No permissions to access a key script: on @user_script:9.": (
        "ACL SETUSER"
    ),
    "DENIED Redis is running in protected mode": "protected mode",
    "ERR DB index is out of range": "no database of that number",
}
SHUT = {
    "CROSSSLOT Keys in request don't hash to the same slot": "one slot",
    "MISUSED {treadle:a}:due string zset": "the key {treadle:a}:due is a string",
    "ERR unknown command `EVALSHA`": "refused a call",
}
PASSING = {"LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"}


@pytest.mark.parametrize(("said", "cure"), AWAY.items(), ids=range(len(AWAY)))
def test_a_server_that_cannot_serve_now_is_unavailable(said: str, cure: str) -> None:
    """The same call may go through later; the error says what is the matter."""
    reply = Exception(said)
    error = refused("redis://host:1/0", reply)
    assert isinstance(error, StoreUnavailable)
    assert cure in str(error)
    assert str(error).startswith("redis://host:1/0")
    assert is_passing(reply) == (word_of(reply) in PASSING)


@pytest.mark.parametrize(("said", "cure"), BARRED.items(), ids=range(len(BARRED)))
def test_a_server_that_does_not_let_us_in_is_unavailable_until_it_is_mended(
    said: str, cure: str
) -> None:
    """The call itself is right, so it is kept; a start does not wait for it."""
    error = refused("redis://host:1/0", Exception(said))
    assert isinstance(error, StoreUnavailable)
    assert not error.passing
    assert cure in str(error)
    assert not is_passing(Exception(said))


@pytest.mark.parametrize(("said", "cure"), SHUT.items(), ids=range(len(SHUT)))
def test_a_server_that_will_not_serve_is_an_error_to_mend(said: str, cure: str) -> None:
    """Asking again would not help, so it is no outage."""
    error = refused("redis://host:1/0", Exception(said))
    assert type(error) is StoreError
    assert cure in str(error)
    assert not is_passing(Exception(said))


def test_a_hostile_reply_is_shown_in_bounds() -> None:
    """Text from the network is cut, and its control characters are written out."""
    shown = str(refused("redis://host:1/0", Exception("ERR \x1b[2J\r\n" + "x" * 9_000)))
    assert len(shown) < 400
    assert "\x1b" not in shown
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("redis://", "redis://localhost:6379/0", ()),
        ("redis://h", "redis://h:6379/0", ()),
        ("redis://:p%40ss@h:7/3", "redis://h:7/3", ("p@ss",)),
        ("redis://me:p:w@h/", "redis://h:6379/0", ("me", "p:w")),
        ("rediss://[::1]:7/1", "rediss://::1:7/1", ()),
        ("redis+sentinel://:p@a,b:9/shop/2", "redis+sentinel://a:26379,b:9/shop/2", ("p",)),
        ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2", ()),
    ],
)
def test_a_url_is_read(url: str, shown: str, login: tuple[str, ...]) -> None:
    """Places, database, primary and login are found, and the login is not shown."""
    address = read_address(url)
    assert (address.shown, address.login) == (shown, login)


def test_options_are_read() -> None:
    """Files of TLS and the sentinels' own password."""
    url = "rediss+sentinel://h/shop?ssl_ca_certs=/a%20b.pem&ssl_cert_reqs=none&sentinel_password=s"
    address = read_address(url)
    assert address.tls_files == {"ssl_ca_certs": "/a b.pem"}
    assert (address.tls, address.tls_unchecked, address.sentinel_login) == (True, True, ("s",))
