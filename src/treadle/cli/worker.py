"""The command `treadle worker`: start a worker, say what it does, say what it did.

It finds the application, sets up the log, prints a banner and runs the worker until a signal or
the end of a burst. How a worker works is in `treadle.worker`; `--reload` is in `cli.reload`.
Exit codes: 0 after a clean stop, 1 when jobs were cut off, 2 when it could not start or a burst met
what waiting does not mend, 3 when too many attempts ignored their end: it takes a fresh process.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypedDict, Unpack

import click

from treadle import _version
from treadle.cli.locate import Located, locate
from treadle.cli.logs import FORMATS, LEVELS, configure, tell, unheard
from treadle.cli.reach import given, seconds
from treadle.cli.reload import reload_worker
from treadle.cli.view.text import listed, plural, shown_url, span
from treadle.core.lanes import Lanes, read_reserve
from treadle.store.contract import WorkerInfo
from treadle.worker.worker import Worker

_log = logging.getLogger("treadle.worker")
_TASKS_SHOWN: Final = 20


class WorkerOptions(TypedDict):
    """What the command hands to `Worker`."""

    queues: str | None
    concurrency: int | None
    reserve: str | None
    burst: bool
    grace: float | None


class LogOptions(TypedDict):
    """How the command logs."""

    log_level: str
    log_format: str


class _Options(WorkerOptions, LogOptions):
    """Everything but where the application is."""


def _queues(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        Lanes.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _reserve(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        read_reserve(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command()
@click.argument("name", metavar="[APP]", required=False)
@click.option(
    "--app", envvar="TREADLE_APP", metavar="MODULE:APP", help="The same. [env: TREADLE_APP]"
)
@click.option(
    "--queues",
    callback=_queues,
    metavar="LIST",
    help="a,b takes a before b; a=3,b=1 takes three of a for one of b; default: all.",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 2_000), help="Jobs that run at once. [default: 16]"
)
@click.option(
    "--reserve",
    callback=_reserve,
    metavar="LIST",
    help="mail=2,sms=1 keeps so many of the slots for these queues alone.",
)
@click.option("--burst", is_flag=True, help="End when nothing is ready any more.")
@click.option("--grace", type=seconds, help="For how long running jobs may end after a stop.")
@click.option("--reload", is_flag=True, help="Development: start anew when a .py file changes.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="auto is pretty on a terminal, else text.",
)
def worker(name: str | None, app: str | None, *, reload: bool, **options: Unpack[_Options]) -> None:
    """Run jobs.

    APP is module:app; without it app.py, main.py and tasks.py of this folder are looked at. The
    first SIGTERM or Ctrl-C stops gracefully, the second at once. Exit code 1: jobs were cut off and
    handed back; 2: the worker could not start, or a burst met what waiting does not mend.
    """
    name = name or app
    if reload and options["burst"]:
        raise click.UsageError("--reload and --burst do not go together: a burst ends by itself")
    if reload:
        code = reload_worker(name, _arguments(name, options), grace=options["grace"])
    else:
        with unheard():
            code = _run(locate(name), options)
    click.get_current_context().exit(code)


def _arguments(name: str | None, options: _Options) -> list[str]:
    """Write the options of a child that runs the same worker."""
    words = [] if name is None else [name]
    for option, value in given(options).items():
        if value is not False:
            words += [f"--{option.replace('_', '-')}", str(value)]
    return words


def _run(located: Located, options: _Options) -> int:
    configure(options["log_level"], options["log_format"])
    began = time.monotonic()
    try:
        running = _ToldWorker(
            located,
            options["log_format"],
            queues=options["queues"],
            concurrency=options["concurrency"],
            reserve=options["reserve"],
            burst=options["burst"],
            grace=options["grace"],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    factory = _loop_factory()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            code = runner.run(running.arun())
    finally:
        located.app.close()
    running.tell(running.summary(time.monotonic() - began))
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop's event loop when the extra `fast` is installed."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _ToldWorker(Worker):
    """A worker that says when it is ready and can sum up what it did."""

    def __init__(self, located: Located, log_format: str, **options: Unpack[WorkerOptions]) -> None:
        super().__init__(located.app, **options)
        self._name = located.name
        self._log_format = log_format
        self._told = False

    def _info(self) -> WorkerInfo:
        """Print the banner once, as soon as the worker has an id."""
        info = super()._info()
        if not self._told:
            self._told = True
            self.tell(banner(self, info.id, self._name))
        return info

    def tell(self, text: str) -> None:
        """Say this to whoever started the worker; where machines read, as a log line."""
        if self._log_format == "json":
            _log.info("%s", text.strip())
        else:
            tell(text)

    def summary(self, seconds: float) -> str:
        """Say how much was done, and what went otherwise."""
        lost = self.lost
        reason = self.reason.partition(";")[0]
        said = f"Stopped ({reason}): {plural(self.starts, 'attempt')} in {span(seconds)}"
        if self.cut:
            said += f"; {plural(self.cut, 'job')} cut off and handed back"
        if lost:
            said += (
                f"; {plural(lost, 'settlement')} LOST: they came too late, because another "
                "worker had taken the jobs over"
            )
        return said + "."


def banner(worker_: Worker, id_: str, name: str) -> str:
    """Say what a worker is, what it takes and what it knows."""
    settings: Any = worker_.app.settings
    tasks = sorted(worker_.app.registry)
    weights = worker_.lanes.weights
    if weights is None:
        queues = "all"
    elif worker_.lanes.strict:
        queues = ", ".join(weights) + (" (in this order)" if len(weights) > 1 else "")
    else:
        queues = ", ".join(f"{queue}={weight}" for queue, weight in weights.items())
    reserved = ", ".join(f"{queue}={count}" for queue, count in worker_.lanes.reserve.items())
    known = (
        listed(tasks, _TASKS_SHOWN) if tasks else "none: is the module that defines them imported?"
    )
    namespace = "" if settings.namespace == "default" else f", namespace {settings.namespace}"
    alone = ", which no other process sees" if worker_.app.stays_here else ""
    rows = (
        ("worker", id_),
        ("app", name),
        ("store", shown_url(settings.store) + namespace + alone),
        ("queues", queues),
        ("slots", f"{worker_.slots}" + (f", reserved: {reserved}" if reserved else "")),
        ("tasks", f"{len(tasks)}: {known}" if tasks else known),
    )
    lines = [f"treadle {_version.__version__}", *(f"  {key:<7} {text}" for key, text in rows)]
    if not worker_.burst:
        lines.append("Ctrl-C stops gracefully; a second one stops at once.")
    return "\n".join([*lines, ""])
