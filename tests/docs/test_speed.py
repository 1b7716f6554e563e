"""The README's figures are those of the benchmark's data files, and no others."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def tool() -> ModuleType:
    """Load the tool that writes the section."""
    spec = importlib.util.spec_from_file_location("speed", ROOT / "tools/readme_speed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_data_says() -> None:
    """The section is written from the data; run tools/readme_speed.py after a benchmark."""
    speed = tool()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = speed.load()
    assert set(results) == {"sqlite", "postgres", "redis"}
    assert {data["mode"] for data in results.values()} == {"full"}
    assert speed.written(readme, results) == readme
    assert all(f"### {name}" in speed.section(results) for name in speed.ENGINES.values())
