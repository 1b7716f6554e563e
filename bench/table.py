"""The tables that a run prints: systems side by side, ratios, probes, and the bars.

Markdown, so that a table can be pasted as it is. Reads only a `Report`; it computes nothing
that the file does not hold, except the ratios.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.harness.report import Report, Results

_OURS = "treadle:"
_PROBE = "probe:"
_WHOLE_FROM = 100
_ABSENT = "-"


@dataclass(frozen=True)
class Column:
    """One figure of one measure under a heading; higher or lower is better."""

    heading: str
    measure: str
    figure: str
    higher_is_better: bool = True


_COLUMNS = (
    Column("enqueue /s", "enqueue_single", "jobs_per_s"),
    Column("bulk /s", "enqueue_bulk", "jobs_per_s"),
    Column("drain 1 /s", "drain_1", "jobs_per_s"),
    Column("drain 2 /s", "drain_2", "jobs_per_s"),
    Column("share %", "drain_2", "smallest_share_percent"),
    Column("p50 ms", "latency", "p50_ms", higher_is_better=False),
    Column("p99 ms", "latency", "p99_ms", higher_is_better=False),
    Column("idle %", "idle", "cpu_percent", higher_is_better=False),
    Column("RSS MB", "idle", "rss_mb", higher_is_better=False),
    Column("PSS MB", "idle", "pss_mb", higher_is_better=False),
)
_WITHOUT_RATIO = ("share %", "idle %")


def render(report: Report) -> str:
    """Return the whole printout of a run."""
    results = Results(report.rows)
    parts = [
        _heading(report),
        "Systems side by side (medians)",
        _side_by_side(results),
        "Ratios: how many times better treadle is (below 1: worse)",
        _ratios(results),
        "Only treadle",
        _only_ours(results),
        "What the machine allows",
        _probes(results),
        "Settings and guarantees",
        _settings(report),
        "Bars",
        _bars(report),
        _errors(report),
    ]
    return "\n\n".join(part for part in parts if part)


def _heading(report: Report) -> str:
    machine = report.machine
    return (
        f"treadle benchmarks, {report.mode} run of {report.date}, {report.seconds:.0f} s\n"
        f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory')}, "
        f"{machine.get('kernel')}, {machine.get('python')}, {machine.get('file_system')}; "
        f"{_engine(report)}; commit {report.commit.get('id')}"
        f"{' with changes' if report.commit.get('changed') else ''}; "
        f"load average before: {machine.get('load_average_before')}"
    )


def _engine(report: Report) -> str:
    if not report.engine:
        return f"SQLite {report.machine.get('sqlite')}"
    return _pairs(report.engine)


def _systems(results: Results) -> list[str]:
    measured = {column.measure for column in _COLUMNS}
    names = dict.fromkeys(row.system for row in results.rows if row.measure in measured)
    return list(names)


def _side_by_side(results: Results) -> str:
    lines = [
        [name, *(_cell(results.median(name, one.measure, one.figure)) for one in _COLUMNS)]
        for name in _systems(results)
    ]
    return _markdown(["system", *(one.heading for one in _COLUMNS)], lines)


def _ratios(results: Results) -> str:
    columns = [one for one in _COLUMNS if one.heading not in _WITHOUT_RATIO]
    ours = [name for name in _systems(results) if name.startswith(_OURS)]
    peers = [name for name in _systems(results) if not name.startswith(_OURS)]
    lines = [
        [f"{mine} against {peer}", *(_ratio(results, one, mine, peer) for one in columns)]
        for mine in ours
        for peer in peers
    ]
    return _markdown(["", *(one.heading for one in columns)], lines)


def _ratio(results: Results, column: Column, mine: str, peer: str) -> str:
    ours = results.median(mine, column.measure, column.figure)
    theirs = results.median(peer, column.measure, column.figure)
    if not ours or not theirs:
        return _ABSENT
    return f"{ours / theirs if column.higher_is_better else theirs / ours:.2f}"


def _only_ours(results: Results) -> str:
    common = {column.measure for column in _COLUMNS}
    lines = [
        [row.system, row.measure, _figures(row.medians)]
        for row in results.rows
        if row.system.startswith(_OURS) and row.measure not in common and row.medians
    ]
    return _markdown(["system", "measure", "figures (medians)"], lines)


def _probes(results: Results) -> str:
    lines = [
        [row.system, _figures(row.medians)]
        for row in results.rows
        if row.system.startswith(_PROBE) and row.medians
    ]
    return _markdown(["probe", "figures (medians)"], lines)


def _settings(report: Report) -> str:
    said = {row.system: row for row in report.rows if row.settings}
    lines = [
        [name, _pairs(row.versions), row.settings, row.guarantees] for name, row in said.items()
    ]
    return _markdown(["system", "versions", "settings", "guarantees"], lines)


def _bars(report: Report) -> str:
    words = {True: "met", False: "short", None: "not measured"}
    lines = [[one.bar, one.wanted, one.reached, words[one.ok]] for one in report.verdicts]
    return _markdown(["bar", "wanted", "reached", ""], lines)


def _errors(report: Report) -> str:
    lines = [f"{row.system} {row.measure}: {row.error}" for row in report.rows if row.error]
    return "Not measured:\n" + "\n".join(lines) if lines else ""


def _figures(figures: dict[str, float]) -> str:
    return _pairs({name: _cell(value) for name, value in figures.items()})


def _pairs(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in pairs.items())


def _cell(value: float | None) -> str:
    if value is None:
        return _ABSENT
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def _markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a padded markdown table, or nothing when it has no lines."""
    rows = [list(headings), *(list(line) for line in lines)]
    if len(rows) == 1:
        return ""
    widths = [max(len(row[place]) for row in rows) for place in range(len(headings))]
    padded = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], ruler, *padded[1:]])
