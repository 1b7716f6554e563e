"""What a caller's own user must be allowed to do: what the guide says, and all of it."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from treadle import Treadle, Unique
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore

GUIDE: Final = Path(__file__).parents[2] / "docs" / "guides" / "transactions.md"
ROW: Final = re.compile(r"^\| (all|with a \w+)[^|]* \| (.*) \|$", re.MULTILINE)
KINDS: Final = ("all", "with a tenant", "with a key")


@pytest.fixture
def app(postgres_url: str) -> Iterator[Treadle]:
    """Give an application with a task of each kind."""
    own = f"r_{secrets.token_hex(4)}"
    store = open_store(postgres_url, own, Settings())
    assert isinstance(store, PostgresStore)
    store.migrate_now()
    store.close_now()
    app = Treadle(postgres_url, namespace=own)
    app.task(name="all")(_nothing)
    app.task(name="with a tenant", tenant="{who}")(_nothing)
    app.task(name="with a key", unique=Unique())(_nothing)
    yield app
    app.close()


def _nothing(who: str) -> None:
    """Do nothing for somebody."""


def _grants(rows: list[str]) -> list[tuple[str, str]]:
    """Give what the guide's table says of these rows: (rights, table)."""
    said = dict(ROW.findall(GUIDE.read_text(encoding="utf-8")))
    found = []
    for row in rows:
        for part in said[row].split(";"):
            tables = re.findall(r"`treadle_(\w+)`", part)
            rights = re.findall(r"`(select|insert|update)`", part)
            found += [(", ".join(rights), table) for table in tables]
    return found


@pytest.mark.parametrize("task", KINDS)
def test_the_rights_of_the_guide_are_those_that_are_needed(
    app: Treadle, postgres_url: str, task: str
) -> None:
    """With all of them jobs can be stored; without any one the server's error names the table."""
    user = f"web_{secrets.token_hex(4)}"
    tables = f"treadle_{app.settings.namespace}_"
    wanted = _grants(sorted({"all", task}))
    with (
        psycopg.connect(postgres_url, autocommit=True) as owner,
        psycopg.connect(postgres_url) as own,
    ):
        owner.execute(f"create role {user}".encode())
        for rights, table in wanted:
            owner.execute(f"grant {rights} on {tables}{table} to {user}".encode())
        own.execute(f"set role {user}".encode())
        own.commit()
        call = app.named(task).using(connection=own)
        call.enqueue_many([("a",), ("b",)])
        own.commit()
        for rights, table in {one for one in wanted if one[1] != "jobs"}:
            owner.execute(f"revoke {rights} on {tables}{table} from {user}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"{tables}{table}"):
                call.enqueue_many([("a",), ("c",)])
            own.rollback()
            owner.execute(f"grant {rights} on {tables}{table} to {user}".encode())
        own.execute(b"reset role")
        own.commit()
        owner.execute(f"drop owned by {user}; drop role {user}".encode())
