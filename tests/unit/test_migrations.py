"""Which steps lead to a schema of today: each has a number that no other one has."""

from importlib.resources import files
from typing import Final

import pytest

from treadle.store.postgres import schema as postgres
from treadle.store.sqlite import schema as sqlite

VERSIONS: Final = {"postgres": postgres.VERSION, "sqlite": sqlite.VERSION}


@pytest.mark.parametrize("store", VERSIONS)
@pytest.mark.parametrize("half", ["before", "after"])
def test_each_migration_has_a_version_of_its_own(store: str, half: str) -> None:
    """Of two with one number a store that was migrated between them would lack one for good."""
    folder = files(f"treadle.store.{store}") / "migrations"
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(f".{half}.sql")]
    numbers = sorted(int(name[:4]) for name in names)
    assert len(numbers) == len(set(numbers)), sorted(names)
    if half == "before":
        assert numbers == list(range(1, VERSIONS[store] + 1))
