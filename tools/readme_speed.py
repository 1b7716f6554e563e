#!/usr/bin/env python3
"""Write the README's table of speed from the benchmark's data, and from nothing else.

`make bench` writes bench/results/sqlite.json; this turns it into what stands between the
README's `speed` marks. `tests/docs/test_speed.py` compares the two.
After a new benchmark run `python tools/readme_speed.py`.
"""

from pathlib import Path
from typing import Any, Final

from msgspec import json

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
DATA: Final = ROOT / "bench" / "results" / "sqlite.json"
BEGIN, END = "<!-- speed -->\n", "<!-- /speed -->\n"

SYSTEMS: Final = {
    "treadle:async": "treadle, async task",
    "treadle:sync": "treadle, sync task",
    "huey:default": "Huey, default polling",
    "huey:fastest-polling": "Huey, fastest polling",
    "dbos:default": "DBOS, default polling",
    "dbos:fastest-polling": "DBOS, fastest polling",
}
COLUMNS: Final = (
    ("one worker, jobs/s", "drain_1", "jobs_per_s"),
    ("two workers, jobs/s", "drain_2", "jobs_per_s"),
    ("enqueue, jobs/s", "enqueue_single", "jobs_per_s"),
    ("in bulk, jobs/s", "enqueue_bulk", "jobs_per_s"),
    ("start p50, ms", "latency", "p50_ms"),
    ("start p99, ms", "latency", "p99_ms"),
    ("idle CPU, %", "idle", "cpu_percent"),
)


def section(data: dict[str, Any]) -> str:
    """Write the section from the data of one run."""
    medians = {(row["system"], row["measure"]): row.get("medians", {}) for row in data["rows"]}
    lines = ["## Speed", "", _machine(data, medians), ""]
    lines += ["| System | " + " | ".join(name for name, _, _ in COLUMNS) + " |"]
    lines += ["|---" * (len(COLUMNS) + 1) + "|"]
    for system, title in SYSTEMS.items():
        if not any(key[0] == system for key in medians):
            continue
        cells = [_shown(medians.get((system, m), {}).get(f)) for _, m, f in COLUMNS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", *_ratios(medians), ""]
    lines += [
        "Jobs leave a mark and return a value; results are stored.",
        "treadle and DBOS run a job at least once, Huey at most once.",
        (
            "The data, with every repetition and setting: "
            "[bench/results/sqlite.json](bench/results/sqlite.json)."
        ),
        "How it was measured, and what it does not say: [bench/README.md](bench/README.md).",
        "Measure again with `make bench`.",
    ]
    return "\n".join(lines) + "\n"


def _machine(data: dict[str, Any], medians: dict[tuple[str, str], Any]) -> str:
    machine = data["machine"]
    fsync = medians.get(("probe:fsync", "probe"), {}).get("p50_ms")
    return (
        f"One run on {machine['cores']} cores ({machine['processor']}), {machine['python']}, "
        f"SQLite {machine['sqlite']} on {machine['file_system']}; an fsync took "
        f"{_shown(fsync)} ms; medians, {data['date'][:10]}."
    )


def _ratios(medians: dict[tuple[str, str], Any]) -> list[str]:
    ours = medians.get(("treadle:async", "drain_1"), {}).get("jobs_per_s")
    probe = medians.get(("probe:sqlite-batch", "probe"), {}).get("exchange_jobs_per_s")
    huey = [
        found["jobs_per_s"]
        for (system, measure), found in medians.items()
        if system.startswith("huey:") and measure == "drain_1" and "jobs_per_s" in found
    ]
    if ours is None or probe is None or not huey:
        return []
    return [
        (
            f"One worker drains {ours / max(huey):.0f} times as many jobs as Huey at its best, and "
            f"{100 * ours / probe:.0f} % of what bare batched SQL on the same file reaches."
        )
    ]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"  # noqa: PLR2004 -- digits


def written(readme: str, data: dict[str, Any]) -> str:
    """Put the section between the README's marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + section(data) + END + after


if __name__ == "__main__":
    loaded = json.decode(DATA.read_bytes())
    README.write_text(written(README.read_text(encoding="utf-8"), loaded), encoding="utf-8")
