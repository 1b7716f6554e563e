"""How are a doctor's findings shown: as a table that leads with the worst, or as a document?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from treadle.cli.view.tables import Column, grid
from treadle.cli.view.text import plural, safe
from treadle.store.findings import Finding, Level

_STYLES: Final = {
    Level.LOSES: "bold red",
    Level.WARNING: "yellow",
    Level.UNSEEN: "magenta",
    Level.NOTE: "blue",
    Level.OK: "green",
}
_COLUMNS: Final[tuple[Column, ...]] = (
    ("LEVEL", "left", "whole"),
    ("WHAT", "left", "fold"),
    ("FOUND", "left", "fold"),
    ("MEANS, AND WHAT TO DO", "left", "fold"),
)


def findings_table(findings: Sequence[Finding]) -> Table:
    """Show findings, one a row."""
    return grid(
        _COLUMNS,
        (
            (
                Text(str(finding.level), style=_STYLES[finding.level]),
                safe(finding.name),
                safe(finding.found),
                safe(" ".join(part for part in (finding.means, finding.advice) if part)),
            )
            for finding in findings
        ),
    )


def findings_document(store: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Give findings with keys that stay; `worst` is the level of the worst one."""
    return {
        "store": store,
        "worst": min((f.level for f in findings), key=tuple(Level).index, default=Level.OK),
        "findings": [
            {
                "level": finding.level,
                "name": finding.name,
                "found": finding.found,
                "means": finding.means,
                "advice": finding.advice,
            }
            for finding in findings
        ],
    }


def verdict(store: str, findings: Sequence[Finding]) -> str:
    """Sum findings up in a sentence."""
    counts = Counter(finding.level for finding in findings)
    said = [
        plural(counts[level], one, many)
        for level, one, many in (
            (Level.WARNING, "warning", "warnings"),
            (Level.UNSEEN, "thing could not be looked at", "things could not be looked at"),
        )
        if counts[level]
    ]
    loses = counts[Level.LOSES]
    first = f"{plural(loses, 'finding')} would lose jobs" if loses else "nothing would lose jobs"
    return f"{store}: {'; '.join([first, *said])}."
