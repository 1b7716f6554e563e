"""The README's figures are those of the benchmark's data file, and no others."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from msgspec import json

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
    data = json.decode((ROOT / "bench/results/sqlite.json").read_bytes())
    assert data["mode"] == "full"
    assert speed.written(readme, data) == readme
    assert "jobs/s" in speed.section(data)
