"""Which store does a command work on, and how are its options written?

`--store URL` needs no code; `--app` takes the store of an application; with neither, the
application of the working folder is used, or else the default store. What the command line says
wins over the environment. A command that only looks never makes a file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import click
from click.core import ParameterSource

from treadle.app import Treadle
from treadle.cli.locate import LocateError, has_candidate, locate
from treadle.cli.view.text import shown_url
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import id_bytes
from treadle.core.lanes import check_queue
from treadle.store.contract import Store
from treadle.store.open import open_store

Command = Callable[..., Any]

_UNIT_S: Final = {"": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Reach:
    """Where a command finds its jobs: an application's name, a store's URL, or neither."""

    app: str | None
    store: str | None

    @property
    def has_code(self) -> bool:
        """Tell whether the tasks' code is at hand."""
        return self.store is None and (self.app is not None or has_candidate())

    def treadle(self) -> Treadle:
        """Give the application; nothing is opened.

        Raises:
            LocateError: the application cannot be found.
            SettingsError: the URL is none.
        """
        if self.store is not None:
            return Treadle(self.store)
        if not self.has_code:
            return Treadle()
        try:
            return locate(self.app).app
        except LocateError as error:
            raise LocateError(f"{error.message}\nOr name the store: --store URL") from error

    @contextmanager
    def opened(self, *, create: bool = False) -> Iterator[Treadle]:
        """Open the store for the length of a block.

        Raises:
            StoreUnavailable: it is missing and `create` is not given, or it cannot be shared.
        """
        app = self.treadle()
        asyncio.run(_check(app, create=create))
        try:
            yield app
        finally:
            app.close()


def closed_store(app: Treadle) -> Store:
    """Make the application's store, unopened.

    Raises:
        StoreUnavailable: it lives in another process's memory.
    """
    url = app.settings.store
    store = open_store(url, app.settings.namespace, app.settings)
    if not store.features.shared:
        raise StoreUnavailable(
            f"the store {shown_url(url)} lives in the memory of one process, and no command can "
            "see into it; name a file: sqlite:///jobs.db"
        )
    return store


async def _check(app: Treadle, *, create: bool) -> None:
    """Open the store once, so that a missing file is an error rather than made."""
    store = closed_store(app)
    try:
        await store.open(create=create)
    finally:
        await store.close()


def reaches_store(command: Command) -> Command:
    """Add `--app` and `--store` to a command, which takes a `Reach` as its first argument."""

    @click.option(
        "--store",
        envvar="TREADLE_STORE",
        metavar="URL",
        help="The store; needs no code. [env: TREADLE_STORE]",
    )
    @click.option(
        "--app",
        envvar="TREADLE_APP",
        metavar="MODULE:APP",
        help="The application whose store is meant. [env: TREADLE_APP]",
    )
    @click.pass_context
    @wraps(command)
    def with_reach(
        context: click.Context, /, app: str | None, store: str | None, **options: object
    ) -> Any:  # noqa: ANN401 -- what the command returns, click ignores
        return context.invoke(command, _reach(context, app, store), **options)

    return with_reach


def _reach(context: click.Context, app: str | None, store: str | None) -> Reach:
    """Decide between the two: the command line wins over the environment, then code wins."""
    typed = {
        name
        for name in ("app", "store")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if len(typed) > 1:
        raise click.UsageError("give --app or --store, not both: each names a store")
    if "store" in typed or app is None:
        return Reach(None, store)
    return Reach(app, None)


def prints_json(command: Command) -> Command:
    """Add `--json` to a command, as the argument `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return option(command)


def job_id(text: str) -> str:
    """Read a job's id; a shortened one is an error that says so."""
    try:
        id_bytes(text)
    except ValueError as error:
        reason = f"{error}; give the whole id, as `treadle jobs ls` prints it"
        raise click.BadParameter(reason) from error
    return text


def queue_name(text: str) -> str:
    """Read a queue's name."""
    try:
        return check_queue(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def seconds(text: str) -> float:
    """Read a duration: `30`, `1.5s`, `5m`, `2h` or `1d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip())
    if match is None or match[2] not in _UNIT_S:
        raise click.BadParameter(f"{text!r} is no duration; write 30, 1.5s, 5m, 2h or 1d")
    return float(match[1]) * _UNIT_S[match[2]]


@contextmanager
def refused_as_usage() -> Iterator[None]:
    """Turn what a value is refused for into an error of usage, with exit code 2."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
