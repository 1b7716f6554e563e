"""Which application does `module:app` mean, and what is said when it means none?"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_kit import PROJECT, write_project
from treadle.cli.locate import LocateError, locate

NO_TASKS = 'from treadle import Treadle\napp = Treadle("memory://")\n'


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of its own; forget what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        # A folder without `__init__` is a module without a file.
        places = (getattr(sys.modules[name], part, "") for part in ("__file__", "__path__"))
        if any(str(tmp_path) in str(place) for place in places):
            del sys.modules[name]


def _refusal(name: str | None) -> str:
    with pytest.raises(LocateError) as caught:
        locate(name)
    assert caught.value.exit_code == 2
    return caught.value.format_message()


def test_module_and_name(tmp_path: Path) -> None:
    """`module:app` names the application, dotted names included."""
    (tmp_path / "shop").mkdir()
    write_project(tmp_path / "shop", name="jobs.py")
    found = locate("shop.jobs:app")
    assert found.name == "shop.jobs:app"
    assert sorted(found.app.registry) == ["shop.jobs.add", "shop.jobs.fail", "shop.jobs.hold"]


def test_a_module_alone_will_do(tmp_path: Path) -> None:
    """A module with one application needs no name, even when it goes by two names there."""
    write_project(tmp_path, PROJECT + "\nsame = app\n", "only_one.py")
    assert locate("only_one").name == "only_one:app"


def test_several_applications_are_listed(tmp_path: Path) -> None:
    """With two applications the message writes both ways to name one."""
    write_project(tmp_path, NO_TASKS + 'other = Treadle("memory://")\n', "two.py")
    assert "write two:app or two:other" in _refusal("two")


def test_without_a_name_the_usual_modules_are_looked_at(tmp_path: Path) -> None:
    """The first of app, main and tasks that holds an application is taken."""
    write_project(tmp_path, "value = 1\n", "app.py")
    write_project(tmp_path, PROJECT, "main.py")
    write_project(tmp_path, "raise AssertionError('must not be imported')\n", "tasks.py")
    assert locate(None).name == "main:app"


def test_tasks_beside_the_application_are_found(tmp_path: Path) -> None:
    """An application without tasks is completed by the next usual module."""
    write_project(tmp_path, NO_TASKS, "app.py")
    write_project(tmp_path, "from app import app\n@app.task\ndef ring(): ...\n", "tasks.py")
    found = locate(None)
    assert (found.name, list(found.app.registry)) == ("app:app", ["tasks.ring"])


def test_nothing_found_says_what_was_tried(tmp_path: Path) -> None:
    """The message names the files, the folder and what to write."""
    said = _refusal(None)
    assert f"none of app.py, main.py, tasks.py in {tmp_path}" in said
    assert "--app module:app" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:app", "there is no module 'nowhere' here"),
        ("shop.nowhere:app", "there is no module 'shop' here"),
        ("app.py", "write it dotted, for example app:app"),
        ("src/shop.py:app", "for example src.shop:app"),
        (":app", "for example app:app"),
        ("plain", "plain holds no application"),
        (
            "plain:value",
            "plain:value is of type int, not a Treadle application; in plain there is: none",
        ),
        ("plain:missing", "plain:missing is nothing"),
    ],
)
def test_a_wrong_name_is_explained(tmp_path: Path, name: str, said: str) -> None:
    """Each way to name no application has its advice."""
    write_project(tmp_path, "value = 1\n", "plain.py")
    assert said in _refusal(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import module_that_is_missing\n", "ModuleNotFoundError: No module named"),
        ("def inner():\n    raise ValueError('a \\x1b[2J bad day')\ninner()\n", "ValueError: a"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_module_that_fails_shows_its_own_traceback(tmp_path: Path, text: str, said: str) -> None:
    """What the user's code raised is shown with its own lines, and without treadle's."""
    write_project(tmp_path, text, "failing.py")
    shown = _refusal("failing:app")
    assert said in shown
    assert 'failing.py", line' in shown
    assert "importlib" not in shown
    assert "\x1b" not in shown
    assert "Mend this first" in shown
