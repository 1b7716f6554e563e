"""The benchmark of schedules runs, and what it writes can be read."""

from pathlib import Path

import pytest
from msgspec import json

from bench.probes.schedules import QUICK, Results, main
from bench.probes.ticking import judged


def test_the_quick_form_measures_each_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each tick of the measured second has its job, and the results file holds the figures."""
    out = tmp_path / "schedules.json"
    main(["sqlite", "--quick", "--out", str(out)])
    results = json.decode(out.read_bytes(), type=Results)
    [found] = results.stores
    assert (results.mode, found.store, found.schedules) == ("quick", "sqlite", QUICK.schedules)
    measured = (*found.at_once, *found.spread, *found.fleet_at_once)
    assert [one.jobs for one in measured] == [QUICK.due] * 3
    assert [bar.at_most for bar in found.bars] == [1, 2, 100, 100, 100]
    assert all(0 <= one.p50_ms <= one.p99_ms <= one.max_ms for one in found.at_once)
    assert "at once: 20 jobs in 1 rounds" in capsys.readouterr().out


def test_a_tick_that_is_run_twice_is_told() -> None:
    """Each tick is called to account, of every instant; so is one that is missing."""
    noted = [(f"s{n}", tick, late / 10) for tick in "abc" for n, late in ((0, 2), (1, 1))]
    assert judged(noted, 2, 1) == {"b": [0.1, 0.2]}
    with pytest.raises(AssertionError, match=r"1 ticks were run more than once, as \('s1', 'c'\)"):
        judged([*noted, noted[-1]], 2, 1)
    with pytest.raises(AssertionError, match=r"not every instant has 3 jobs: {'b': 2}"):
        judged(noted, 3, 1)


def test_an_unknown_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names it."""
    with pytest.raises(SystemExit):
        main(["sqlit"])
    assert "no store is called sqlit" in capsys.readouterr().err
