"""`treadle tenants`."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.e2e.cli_kit import invoke, store_url
from treadle import Treadle
from treadle.client.tenants.control import Tenant


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name a store that is there."""
    made = store_url(tmp_path)
    with_jobs = Treadle(made)
    with_jobs.queues.list()
    with_jobs.close()
    return made


def _call(url: str, *args: str) -> Result:
    return invoke("tenants", *args, "--store", url)


def test_a_weight_is_set_and_listed(url: str) -> None:
    """The application sees what the command line has set; the weight 1 is nobody's."""
    assert _call(url, "ls").stdout == "No tenant has another weight than 1.\n"
    assert _call(url, "set", "acme", "3").stdout == "Tenant acme has the weight 3.\n"
    _call(url, "set", "bolt", "0.5")
    lines = _call(url, "ls").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["TENANT", "WEIGHT"], ["acme", "3"], ["bolt", "0.5"],
    ]  # fmt: skip
    _call(url, "set", "bolt", "1")
    app = Treadle(url)
    assert app.tenants() == [Tenant("acme", 3)]
    app.close()


def test_the_documents_of_tenants(url: str) -> None:
    """One for the tenant that was set, one for all."""
    row = {"tenant": "acme", "weight": 2}
    assert json.loads(_call(url, "set", "acme", "2", "--json").stdout) == row
    assert json.loads(_call(url, "ls", "--json").stdout) == {"tenants": [row]}


@pytest.mark.parametrize("words", [("acme", "0"), ("acme", "nan"), ("", "2"), ("x" * 201, "2")])
def test_what_cannot_be_a_weight_or_a_tenant_is_an_error_of_usage(
    url: str, words: tuple[str, str]
) -> None:
    """The error says the range, the exit code is 2, and nothing is stored."""
    result = _call(url, "set", *words)
    assert result.exit_code == 2
    assert "from 0.01 to 100" in result.stderr or "1 to 200" in result.stderr
    assert _call(url, "ls").stdout == "No tenant has another weight than 1.\n"


def test_a_name_cannot_steer_the_terminal(url: str) -> None:
    """Brackets are text, and what is not printable is no name."""
    assert "[red]x" in _call(url, "set", "[red]x", "2").stdout
    assert "[red]x" in _call(url, "ls").stdout
