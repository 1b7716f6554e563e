"""The benchmark of schedules runs, and what it writes can be read."""

from pathlib import Path

import pytest
from msgspec import json

from bench.probes.schedules import QUICK, Results, main


def test_the_quick_form_measures_each_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each tick of the measured second has its job, and the results file holds the figures."""
    out = tmp_path / "schedules.json"
    main(["sqlite", "--quick", "--out", str(out)])
    results = json.decode(out.read_bytes(), type=Results)
    [found] = results.stores
    assert (results.mode, found.store, found.schedules) == ("quick", "sqlite", QUICK.schedules)
    assert [one.jobs for one in (*found.at_once, *found.spread)] == [QUICK.due, QUICK.due]
    assert all(0 <= one.p50_ms <= one.p99_ms <= one.max_ms for one in found.at_once)
    assert "at once: 20 jobs in 1 rounds" in capsys.readouterr().out


def test_an_unknown_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names it."""
    with pytest.raises(SystemExit):
        main(["sqlit"])
    assert "no store is called sqlit" in capsys.readouterr().err
