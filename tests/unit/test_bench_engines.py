"""Whether the benchmarks hold each engine to its own bars and find each peer's environment.

Nothing is measured here; the numbers are made up so that the right answer is known.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench import drive
from bench.bars import verdicts
from bench.engines import ENGINES
from bench.harness.environments import interpreter, is_ours, requirements
from bench.harness.marks import WARM_UP, Mark, rates_by_part
from bench.harness.plan import plan_for
from bench.harness.report import Results, Row
from bench.harness.systems import peer_modules
from bench.peers.base import STORE_VARIABLE, Rates, Variant, store_file, store_url
from bench.run import main


def _verdicts(engine: str, rows: list[Row]) -> dict[str, tuple[str, bool | None]]:
    return {one.bar: (one.wanted, one.ok) for one in verdicts(Results(rows), engine)}


def _drain(system: str, rate: float) -> Row:
    return Row(system, "drain_1", medians={"jobs_per_s": rate})


def test_on_redis_the_fastest_of_all_peers_sets_the_bar() -> None:
    """Neither treadle's own variants nor a probe count as a peer."""
    rows = [
        _drain("huey:default", 5_000.0),
        _drain("saq:default", 2_000.0),
        _drain("treadle:sync", 90_000.0),
        _drain("treadle:async", 25_000.0),
        Row("probe:redis", "probe", medians={"exchange_per_s": 62_600.0}),
    ]

    found = _verdicts("redis", rows)

    assert found["drain, 1 process, 5 x the fastest peer"] == ("at least 25,000 jobs/s", True)
    assert found["drain, 1 process, 40 % of the raw probe"] == ("at least 25,040 jobs/s", False)


def test_on_postgres_pgqueuer_has_a_bar_of_its_own() -> None:
    """The tenfold bar is that of every peer but PgQueuer, which no one else comes near."""
    rows = [
        _drain("pgqueuer:default", 17_000.0),
        _drain("dbos:default", 2_600.0),
        _drain("treadle:async", 25_500.0),
    ]

    found = _verdicts("postgres", rows)

    assert found["drain, 1 process, 1.5 x pgqueuer"] == ("at least 25,500 jobs/s", True)
    assert found["drain, 1 process, 10 x every other peer"] == ("at least 26,000 jobs/s", False)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_passes_what_was_not_measured(engine: str) -> None:
    """Without figures every verdict is open, on each engine."""
    found = verdicts(Results([]), engine)

    assert found
    assert {one.ok for one in found} == {None}


def test_the_parts_of_a_drain_have_rates_of_their_own() -> None:
    """A second half at half the pace shows as half the rate."""
    fast = [Mark(1, number, number * 1_000_000) for number in range(100)]
    slow = [Mark(1, number, 100_000_000 + number * 2_000_000) for number in range(100)]

    first, last = rates_by_part(fast + slow, 2)

    assert first == pytest.approx(1_000.0)
    assert last == pytest.approx(500.0)
    assert rates_by_part(fast[:3], 2) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_has_its_peers_and_treadle_comes_first(engine: str) -> None:
    """A peer's file is found by the name of its engine; shared files are no peers."""
    modules = peer_modules(engine)

    assert modules[0] == f"treadle_{engine}"
    assert len(modules) > 2
    assert all(one.endswith(f"_{engine}") for one in modules)


def test_a_peer_with_pins_of_its_own_has_an_environment_of_its_own() -> None:
    """The others share one, and treadle runs in the environment that runs the suite."""
    assert requirements("arq_redis").name == "bench-arq.txt"
    assert requirements("huey_redis").name == "bench.txt"
    assert interpreter("arq_redis").parts[-3] == ".venv-bench-arq"
    assert interpreter("huey_redis").parts[-3] == ".venv-bench"
    assert is_ours("treadle_redis")
    assert interpreter("treadle_redis") == Path(sys.executable)


def test_a_store_is_told_by_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers read the URL from the environment; only SQLite's names a file."""
    monkeypatch.setenv(STORE_VARIABLE, "sqlite:////tmp/run/store.db")

    assert store_file(store_url()) == Path("/tmp/run/store.db")  # noqa: S108 -- never opened
    with pytest.raises(ValueError, match="names no file"):
        store_file("redis://127.0.0.1:6379/0")


def test_an_asynchronous_peer_is_awaited_inside_its_session() -> None:
    """Warm-ups come first, then each job, and the session is open around all of them."""
    seen: list[object] = []

    @contextlib.asynccontextmanager
    async def session() -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("closed")

    async def enqueue_one(number: int) -> None:
        seen.append(number)

    variant = Variant(
        name="fake:async",
        settings="",
        worker=(),
        rates=Rates(single=1, bulk=1, drain=1),
        enqueue_one=enqueue_one,
        session=session,
    )

    assert drive.enqueue_single(variant, 3) > 0

    assert seen == ["open", *[WARM_UP] * 20, 0, 1, 2, "closed"]


def test_bulk_calls_are_a_thousand_jobs_each() -> None:
    """A backlog is stored whole, its last call the rest."""
    calls: list[int] = []
    variant = Variant(
        name="fake:bulk",
        settings="",
        worker=(),
        rates=Rates(single=1, bulk=1, drain=1),
        enqueue_one=calls.append,
        enqueue_bulk=lambda numbers: calls.append(len(numbers)),
    )

    drive.fill(variant, 2_500)

    assert calls == [1_000, 1_000, 500]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_on_an_engine_is_planned_for_25_minutes(engine: str) -> None:
    """No engine's plan allows itself more, and a quick one is a matter of minutes."""
    assert plan_for(engine, quick=False).total_limit_s <= 25 * 60
    assert plan_for(engine, quick=True).total_limit_s <= 5 * 60


def test_a_data_file_holds_one_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """A file named for a run on all engines would be written over twice, so it is refused."""
    with pytest.raises(SystemExit):
        main(["--out", "mine.json"])

    assert "name it with --engine" in capsys.readouterr().err
