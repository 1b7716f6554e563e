"""A little torture on each store, so that the long run cannot rot."""

from pathlib import Path

import pytest

from tests.torture.__main__ import main
from treadle.testing.servers import postgres_programs, redis_program

pytestmark = pytest.mark.slow

SEED = 11


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["sqlite", "postgres", "redis"])
def test_a_short_torture_loses_nothing_and_settles_nothing_twice(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faults at random for 12 s; then the backlog drains and the ledger is sound."""
    find = {"postgres": postgres_programs, "redis": redis_program}.get(store)
    if find is not None:
        find()
    out = tmp_path / "ledger.json"
    words = [store, "--minutes", "0.2", "--seed", str(SEED), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["torture", *words])
    code = main()
    said = capsys.readouterr().out
    assert code == 0, said
    assert "verdict: sound" in said
    assert out.exists()
