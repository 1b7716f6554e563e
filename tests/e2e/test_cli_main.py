"""The command line as a whole: its entry points, its help, how errors end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import treadle
from tests.e2e.cli_kit import invoke, run, store_url
from treadle.cli.main import cli

WITHOUT_JSON = {"worker", "demo"}
"""Commands that print no data."""


def _commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m treadle --version` prints the package's version."""
    done = run(tmp_path, "--version")
    assert done.stdout == f"treadle {treadle.__version__}\n"


def test_a_command_reads_no_other_ones_code() -> None:
    """`treadle enqueue` does not wait until the tables and bars of other commands are imported."""
    program = (
        "import sys\n"
        "from treadle.cli.main import cli\n"
        "cli(['enqueue', '--help'], standalone_mode=False)\n"
        "print(sorted({'rich', 'treadle.cli.bench', 'treadle.cli.enqueue'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "['treadle.cli.enqueue']"


def test_help_names_the_commands_in_reading_order() -> None:
    """A newcomer meets `worker` first, rather than `bench`."""
    lines = invoke("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == [
        "worker", "enqueue", "jobs", "dead", "queues", "gates", "tenants", "schedules",
        "workers", "doctor", "migrate", "relay", "move", "bench", "demo",
    ]  # fmt: skip


@pytest.mark.parametrize("path", [[], *([name] for name in cli.list_commands(click.Context(cli)))])
def test_no_line_about_a_command_is_cut_off(path: list[str]) -> None:
    """On a terminal of 80 columns each command is told in a whole sentence."""
    listed = invoke(*path, "--help").stdout.partition("Commands:\n")[2].splitlines()
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("name", [name for name, _ in _commands()])
def test_each_command_explains_itself(name: str) -> None:
    """Each command has a help text, and `--json` where it prints data."""
    result = invoke(*name.split(), "--help")
    assert result.exit_code == 0
    assert dict(_commands())[name].help
    assert ("--json" in result.stdout) == (name not in WITHOUT_JSON)


@pytest.mark.parametrize(
    "words",
    [
        "jobs ls",
        "jobs show 0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77",
        "dead ls",
        "dead groups",
        "queues ls",
        "queues pause mail",
        "workers ls",
    ],
)
def test_a_missing_file_is_one_line_and_is_not_made(tmp_path: Path, words: str) -> None:
    """A command that looks at a store never makes one, and says which file is missing."""
    result = invoke(*words.split(), "--store", store_url(tmp_path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"{tmp_path / 'jobs.db'} does not exist" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_store_is_one_line(tmp_path: Path) -> None:
    """A file of another kind is refused without a traceback."""
    (tmp_path / "jobs.db").write_text("a shopping list, long enough to be read as a page\n" * 50)
    result = invoke("jobs", "ls", "--store", store_url(tmp_path))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("Error: ")


def test_a_store_in_memory_cannot_be_looked_at() -> None:
    """Another process's memory is out of reach, and an empty table would hide that."""
    result = invoke("jobs", "ls", "--store", "memory://")
    assert result.exit_code == 2
    assert "lives in the memory of one process" in result.stderr


def test_a_wrong_url_is_one_line() -> None:
    """A scheme that is none is refused with the schemes that there are."""
    result = invoke("jobs", "ls", "--store", "mysql://me:secret@host/db")
    assert result.exit_code == 2
    assert "sqlite:///" in result.stderr
    assert "secret" not in result.stderr


def test_app_and_store_exclude_each_other(tmp_path: Path) -> None:
    """Two answers to one question are a mistake rather than a matter of order."""
    result = invoke("jobs", "ls", "--app", "a:b", "--store", store_url(tmp_path))
    assert result.exit_code == 2
    assert "not both" in result.stderr
