"""The entry point: the group of commands, and how errors end.

Each error that treadle raises on purpose becomes one clear line on standard error and the exit
code 2; a traceback is left to what nobody foresaw. The commands are in the other files, each of
which is imported when its command is asked for: a third of what a command cost was to read others.
"""

from __future__ import annotations

import importlib
import os
from typing import Final

import click

from treadle import _version
from treadle.cli.view.text import safe
from treadle.core.errors import TreadleError

_COMMANDS: Final = {
    "worker": "worker",
    "enqueue": "enqueue",
    "jobs": "jobs",
    "dead": "dead",
    "queues": "control",
    "gates": "gates.commands",
    "tenants": "tenants.commands",
    "schedules": "schedules.commands",
    "workers": "control",
    "doctor": "control",
    "migrate": "control",
    "relay": "transit.relay",
    "move": "transit.move",
    "bench": "bench",
    "demo": "demo",
}
"""Each command, under whose name it stands in a module of this package, and that module."""
_STANDARD_ERROR: Final = 2


class _Refused(click.ClickException):
    """What treadle refused, as one line."""

    exit_code = 2


class _Commands(click.Group):
    """The commands, in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Give the names in that order rather than by the alphabet."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give a command, and import it first where that was not done; None: there is none."""
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            module = importlib.import_module(f"treadle.cli.{_COMMANDS[cmd_name]}")
            self.add_command(getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; end with one line when treadle refuses something."""
        try:
            return super().invoke(ctx)
        except TreadleError as error:
            raise _Refused(safe(str(error))) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version.__version__, prog_name="treadle", message="%(prog)s %(version)s")
def cli() -> None:
    """Background jobs for Python: run workers, look at jobs, act on them.

    Most commands find the application by themselves (app.py, main.py or tasks.py in this folder);
    name another with --app, or a store with --store.
    """


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _take_standard_descriptors()
    cli.main(prog_name="treadle")


def _take_standard_descriptors() -> None:
    """Open what the process was started without: standard input, output or error.

    Else the next file or socket would get its number. What a library writes to standard error
    would go there, and libuv, under uvloop, ends a process that closes such a number.
    """
    for _ in range(4):
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > _STANDARD_ERROR:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)  # noqa: FBT003 -- its own signature
