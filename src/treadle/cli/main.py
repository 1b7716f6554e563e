"""The entry point: the group of commands, and how errors end.

Each error that treadle raises on purpose becomes one clear line on standard error and the exit
code 2; a traceback is left to what nobody foresaw. The commands are in the other files.
"""

from __future__ import annotations

import click

from treadle import _version
from treadle.cli.bench import bench
from treadle.cli.control import doctor, migrate, queues, workers
from treadle.cli.dead import dead
from treadle.cli.demo import demo
from treadle.cli.enqueue import enqueue
from treadle.cli.gates.commands import gates
from treadle.cli.jobs import jobs
from treadle.cli.schedules.commands import schedules
from treadle.cli.tenants.commands import tenants
from treadle.cli.transit.move import move
from treadle.cli.transit.relay import relay
from treadle.cli.view.text import safe
from treadle.cli.worker import worker
from treadle.core.errors import TreadleError

_COMMANDS = (
    *(worker, enqueue, jobs, dead, queues, gates, tenants, schedules, workers),
    *(doctor, migrate, relay, move, bench, demo),
)


class _Refused(click.ClickException):
    """What treadle refused, as one line."""

    exit_code = 2


class _Commands(click.Group):
    """The commands, in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Give the names in that order rather than by the alphabet."""
        return list(self.commands)

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


for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    cli.main(prog_name="treadle")
