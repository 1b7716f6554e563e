#!/usr/bin/env python3
"""Write the README's tables of speed from the benchmark's data, and from nothing else.

`make bench` writes bench/results/<engine>.json; this turns them into what stands between the
README's `speed` marks. `tests/docs/test_speed.py` compares the two.
After a new benchmark run `python tools/readme_speed.py`.
"""

import re
from pathlib import Path
from typing import Any, Final

from msgspec import json

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "bench" / "results"
BEGIN, END = "<!-- speed -->\n", "<!-- /speed -->\n"

ENGINES: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL", "redis": "Redis"}
OURS: Final = {"treadle:async": "treadle, async task", "treadle:sync": "treadle, sync task"}
NAMES: Final = {
    "arq": "arq", "celery": "Celery", "dbos": "DBOS", "dramatiq": "Dramatiq", "huey": "Huey",
    "oban": "Oban", "pgqueuer": "PgQueuer", "procrastinate": "Procrastinate", "rq": "RQ",
    "saq": "SAQ", "streaq": "streaQ", "taskiq": "taskiq",
}  # fmt: skip
COLUMNS: Final = (
    ("one worker, jobs/s", "drain_1", "jobs_per_s"),
    ("two workers, jobs/s", "drain_2", "jobs_per_s"),
    ("enqueue, jobs/s", "enqueue_single", "jobs_per_s"),
    ("in bulk, jobs/s", "enqueue_bulk", "jobs_per_s"),
    ("start p50, ms", "latency", "p50_ms"),
    ("start p99, ms", "latency", "p99_ms"),
    ("idle CPU, %", "idle", "cpu_percent"),
)
PROBES: Final = {
    "sqlite": ("probe:sqlite-batch", "exchange_jobs_per_s", "bare batched SQL on the same file"),
    "postgres": ("probe:postgres", "exchange_per_s", "the same statements without a worker"),
    "redis": ("probe:redis", "exchange_per_s", "the same scripts without a worker"),
}

Medians = dict[tuple[str, str], dict[str, float]]


def section(results: dict[str, dict[str, Any]]) -> str:
    """Write the section from the data of one run of each engine."""
    lines = ["## Speed", ""]
    for engine, data in results.items():
        lines += [f"### {ENGINES[engine]}", "", *_engine(engine, data), ""]
    names = [f"[{name}](bench/results/{name}.json)" for name in results]
    lines += [
        "Jobs leave a mark and return a value. Of each peer the variant stands here that drained",
        "fastest; the data has all of them, every repetition, setting and guarantee: "
        + ", ".join(names)
        + ".",
        "How it was measured, and what it does not say: [bench/README.md](bench/README.md).",
        "Measure again with `make bench`.",
    ]
    return "\n".join(lines) + "\n"


def _engine(engine: str, data: dict[str, Any]) -> list[str]:
    medians: Medians = {
        (row["system"], row["measure"]): row["medians"]
        for row in data["rows"]
        if row.get("medians")
    }
    promises = {row["system"]: row.get("guarantees", "") for row in data["rows"]}
    heads = [name for name, _, _ in COLUMNS]
    lines = [_machine(engine, data, medians), ""]
    lines += ["| System | " + " | ".join(heads) + " | runs a job |"]
    lines += ["|---" * (len(COLUMNS) + 2) + "|"]
    for system, title in {**OURS, **_peers(medians)}.items():
        cells = [_shown(medians.get((system, m), {}).get(f)) for _, m, f in COLUMNS]
        promise = re.split(r"[:;]", promises.get(system, ""))[0].strip()
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {promise} |")
    ratios = _ratios(engine, medians)
    return [*lines, *(["", ratios] if ratios else [])]


def _peers(medians: Medians) -> dict[str, str]:
    """Pick each peer's variant that drains fastest, the fastest peer first."""
    drains = {
        system: found["jobs_per_s"]
        for (system, measure), found in medians.items()
        if measure == "drain_1" and "jobs_per_s" in found and system not in OURS
    }
    best: dict[str, str] = {}
    for system in sorted(drains, key=lambda one: -drains[one]):
        best.setdefault(system.partition(":")[0], system)
    return {system: NAMES.get(peer, peer) for peer, system in best.items() if peer in NAMES}


def _machine(engine: str, data: dict[str, Any], medians: Medians) -> str:
    machine = data["machine"]
    fsync = medians.get(("probe:fsync", "probe"), {}).get("p50_ms")
    name = ENGINES[engine]
    version = (data.get("engine") or {}).get(name, machine["sqlite"]).split(" ")[0]
    durable = {"redis": ", append-only file with `everysec`", "postgres": ", default durability"}
    return (
        f"One run on {machine['cores']} cores ({machine['processor']}), {machine['python']}, "
        f"{name} {version} on {machine['file_system']}{durable.get(engine, '')}; an fsync took "
        f"{_shown(fsync)} ms; medians, {data['date'][:10]}."
    )


def _ratios(engine: str, medians: Medians) -> str:
    ours = medians.get(("treadle:async", "drain_1"), {}).get("jobs_per_s")
    probe, figure, words = PROBES[engine]
    raw = medians.get((probe, "probe"), {}).get(figure)
    fastest = next(iter(_peers(medians).items()), None)
    if ours is None or raw is None or fastest is None:
        return ""
    system, name = fastest
    times = ours / medians[system, "drain_1"]["jobs_per_s"]
    return (
        f"One worker drains {times:.{0 if times >= 10 else 1}f} times as many jobs as "  # noqa: PLR2004 -- digits
        f"{name}, the fastest peer, and {100 * ours / raw:.0f} % of what {words} reach"
        + ("es." if engine == "sqlite" else ".")
    )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"  # noqa: PLR2004 -- digits


def load() -> dict[str, dict[str, Any]]:
    """Read the data of each engine that has any."""
    files = {name: RESULTS / f"{name}.json" for name in ENGINES}
    return {name: json.decode(f.read_bytes()) for name, f in files.items() if f.exists()}


def written(readme: str, results: dict[str, dict[str, Any]]) -> str:
    """Put the section between the README's marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + section(results) + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8"), load()), encoding="utf-8")
