"""The map in docs/architecture.md is true: every function it names is where it says."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|[^|]+\| `(src/[^`]+)` \| `([\w.]+):([\w.]+)` \|", TEXT, re.MULTILINE)
HOT_LINES_MAX = 40
LINE_FILE_MAX = 250


def test_the_map_names_the_whole_line() -> None:
    """The table has a row for every verb."""
    assert len(ROWS) >= 9


@pytest.mark.parametrize(("file", "module", "name"), ROWS)
def test_each_named_function_is_where_the_map_says(file: str, module: str, name: str) -> None:
    """A reader who follows a row arrives, at a function that fits in a glance."""
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    assert Path(inspect.getsourcefile(found) or "") == ROOT / file
    assert len(inspect.getsource(found).splitlines()) <= HOT_LINES_MAX


def test_the_line_s_file_stays_small() -> None:
    """The hot path is read in one sitting."""
    lines = (ROOT / "src/treadle/worker/line.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINE_FILE_MAX


def test_links_lead_somewhere() -> None:
    """Every relative link in the docs and the README names a file that exists."""
    broken = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        targets = re.findall(r"\]\(([^)#:]+?)(?:#[\w-]*)?\)", page.read_text("utf-8"))
        broken += [
            f"{page.relative_to(ROOT)} -> {target}"
            for target in targets
            if not (page.parent / target).exists()
        ]
    assert not broken
