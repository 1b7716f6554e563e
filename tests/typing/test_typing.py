"""The types that users see, as mypy and pyright see them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("usage.py", "mistakes.py")


def _check(command: list[str]) -> None:
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_mypy_agrees() -> None:
    """To mypy every use is right and every mistake is one."""
    _check([sys.executable, "-m", "mypy", *(f"tests/typing/{name}" for name in FILES)])


@pytest.mark.timeout(300)
def test_pyright_agrees(tmp_path: Path) -> None:
    """To pyright every use is right and every mistake is one."""
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(HERE / name) for name in FILES],
                "extraPaths": [str(ROOT / "src")],
                "typeCheckingMode": "standard",
                "enableTypeIgnoreComments": True,
            }
        )
    )
    command = [sys.executable, "-m", "basedpyright", "--project", str(config)]
    _check([*command, "--pythonpath", sys.executable])
