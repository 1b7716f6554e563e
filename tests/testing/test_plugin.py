"""The pytest plugin, as a project that uses treadle meets it: in a session of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SESSION_S = 60
SHOP = """
from treadle import Treadle
app = Treadle("sqlite:///shop.db")

@app.task
def greet(name: str) -> str:
    return f"hello {name}"
"""
TESTS = """
from shop import greet

def test_one(treadle_app):
    job = greet.enqueue("ann")
    assert treadle_app.drain() == 1
    assert job.result() == "hello ann"

def test_two(treadle_testing):
    from shop import app
    kit = treadle_testing(app)
    assert kit.enqueued(greet) == []
"""


def session(folder: Path, setting: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest in a project of its own; the installed package brings the plugin."""
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    (folder / "test_shop.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text(
        f"[pytest]\npythonpath = .\nfilterwarnings = error\n{setting}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=SESSION_S
    )


def test_the_fixtures_give_an_application_under_test(tmp_path: Path) -> None:
    """`treadle_app` takes the application of the setting, `treadle_testing` any."""
    done = session(tmp_path, "treadle_app = shop:app")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "shop.db").exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("", 'needs the setting treadle_app = "module:name"'),
        ("treadle_app = nowhere:app", "'nowhere:app' cannot be imported: No module named"),
        ("treadle_app = shop:greet", "is <Task shop.greet>, no Treadle application"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(tmp_path: Path, setting: str, complaint: str) -> None:
    """A setting that is missing or leads nowhere is an error with advice, not a traceback."""
    done = session(tmp_path, setting)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert complaint in done.stdout
