"""The ledger of a torture run as a table for people and as JSON for programs."""

import json
from pathlib import Path
from typing import Any, Final

from msgspec import to_builtins

from tests.torture.judge import SHOWN, Tally

_ROWS: Final = (
    ("enqueued", "enqueued"),
    ("indeterminate", "  enqueues without an answer"),
    ("indeterminate_found", "  of these found stored"),
    ("executed", "executed"),
    ("executed_again", "  executed more than once"),
    ("settled", "settled"),
    ("late", "  settlements that came too late, refused"),
    ("buried", "  dead letters after too many dead workers"),
    ("failed", "  dead letters whose attempts all met a fault"),
    ("lost", "lost (must be 0)"),
    ("forgotten", "  forgotten by a killed server within its 2 s"),
    ("settled_twice", "settled twice (must be 0)"),
    ("unsettled", "not settled at the end (must be 0)"),
    ("other", "other broken promises (must be 0)"),
)


def figures(tally: Tally) -> dict[str, Any]:
    """Give every figure by name."""
    said: dict[str, Any] = to_builtins(tally)
    return said | {"sound": tally.sound}


def table(title: str, tally: Tally, struck: dict[str, int]) -> str:
    """Lay a run out as text."""
    lines = [title, ""]
    for name, words in _ROWS:
        value = getattr(tally, name)
        count = value if isinstance(value, int) else len(value)
        lines.append(f"  {words:<46}{count:>10,}")
        if not isinstance(value, int) and value:
            lines += [f"      {one}" for one in value[:SHOWN]]
    lines += ["", "  faults: " + ", ".join(f"{n} x {kind}" for kind, n in sorted(struck.items()))]
    lines.append(f"  verdict: {'sound' if tally.sound else 'BROKEN'}")
    return "\n".join(lines)


def write(file: Path, head: dict[str, Any], tally: Tally, struck: dict[str, int]) -> None:
    """Write a run as JSON."""
    document = {**head, "faults": struck, "ledger": figures(tally)}
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
