"""The scripts of the Redis store as a server gets them: with what they name, and no more."""

from __future__ import annotations

from importlib import resources

import pytest
import redis

from treadle.store.redis.scripts import script

SCRIPTS = sorted(
    one.name.removesuffix(".lua")
    for one in resources.files("treadle.store.redis.scripts").iterdir()
    if one.name.endswith(".lua") and one.name not in ("common.lua", "book.lua")
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_server_takes_each_script(redis_url: str, name: str) -> None:
    """What stands before it was cut between definitions: the whole compiles, under its digest."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.script_load(script(name).text) == script(name).sha.decode()


def test_a_script_carries_only_what_it_names() -> None:
    """A beat knows nothing of gates and keys; an exchange has both."""
    beat, exchange = script("beat").text, script("exchange").text

    assert b"local function held_key(" in beat
    for definition in (b"local function open_book(", b"local function key_book("):
        assert definition not in beat
        assert definition in exchange
    assert len(beat) < len(exchange) / 10
