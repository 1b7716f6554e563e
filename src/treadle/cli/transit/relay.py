"""The command `treadle relay`: hand the jobs of an outbox to the store.

It runs until SIGTERM or Ctrl-C, or once through; how is in `treadle.transit.relay`. Exit codes: 0
after a clean stop, 1 when rows were or are set aside, 2 when it could not do what was asked.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack

import click

from treadle.app import Treadle
from treadle.cli.logs import FORMATS, LEVELS, configure, tell
from treadle.cli.reach import Reach, closed_store, prints_json, reaches_store
from treadle.cli.view.document import print_document
from treadle.cli.view.text import plural, safe, shown_url, span
from treadle.core.errors import SettingsError
from treadle.core.ids import id_text
from treadle.store.outbox.table import Backlog, Outbox
from treadle.transit.desk import Desk, desk_of
from treadle.transit.relay import Relay, Relayed, age_s


class _Options(TypedDict):
    """What the command takes beside where the store is."""

    outbox: str | None
    migrate: bool
    sql: bool
    status: bool
    again: bool
    once: bool
    as_json: bool
    log_level: str
    log_format: str


@click.command()
@click.option("--outbox", metavar="URL", help="Your own database. [env: TREADLE_OUTBOX]")
@click.option("--once", is_flag=True, help="End when the outbox is empty.")
@click.option("--migrate", is_flag=True, help="Make the outbox's table and end.")
@click.option("--sql", is_flag=True, help="Print what --migrate would do, and end.")
@click.option("--status", is_flag=True, help="Say what lies in the outbox and end.")
@click.option("--again", is_flag=True, help="Let rows that were set aside be relayed again.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(FORMATS), default="auto", show_default=True)
@prints_json
@reaches_store
def relay(reach: Reach, **options: Unpack[_Options]) -> None:
    """Hand jobs from an outbox to the store.

    Jobs enqueued with using(connection=...) wait in a table of your own database until their
    transaction is committed and this command has taken them over. Several may run; one works.
    """
    app = reach.treadle()
    outbox = _outbox(app, options["outbox"])
    if options["sql"]:
        click.echo(outbox.script(), nl=False)
        return
    desk = desk_of(outbox, app.settings.store_timeout)
    try:
        code = _act(app, desk, options)
    finally:
        desk.close()
    click.get_current_context().exit(code)


def make_outbox(app: Treadle) -> None:
    """Make the table of an application's outbox, where it has one.

    Raises:
        StoreError: its database cannot be reached or written to.
    """
    if app.outbox is None:
        return
    desk = desk_of(app.outbox, app.settings.store_timeout)
    try:
        desk.run(app.outbox.make())
    finally:
        desk.close()


def _outbox(app: Treadle, url: str | None) -> Outbox:
    if url is not None:
        return Outbox(url, app.settings.namespace)
    if app.outbox is None:
        msg = (
            "this application has no outbox: give --outbox URL of your own database, set "
            "TREADLE_OUTBOX, or write Treadle(..., settings={'outbox': URL})"
        )
        raise SettingsError([msg])
    return app.outbox


def _act(app: Treadle, desk: Desk, options: _Options) -> int:
    """Do what was asked; give the exit code."""
    as_json = options["as_json"]
    name = f"{desk.outbox.table} in {shown_url(desk.outbox.url)}"
    if options["migrate"]:
        desk.run(desk.outbox.make())
        _say({"outbox": name, "made": True}, f"{name} is there.", as_json=as_json)
        return 0
    if options["status"]:
        return _status(desk, name, as_json=as_json)
    if options["again"]:
        desk.run(desk.outbox.again())
    return _run(app, desk, name, options)


def _status(desk: Desk, name: str, *, as_json: bool) -> int:
    found = desk.run(desk.outbox.backlog())
    if as_json:
        print_document({"outbox": name, **_row(found)})
    else:
        oldest = f", the oldest for {span(age_s(found.oldest))}" if found.waiting else ""
        refused = f"{found.refused:,} set aside"
        click.echo(f"{name}: {plural(found.waiting, 'job')} waiting{oldest}; {refused}.")
        for id_, why in found.problems:
            click.echo(f"  {id_text(id_)}  {safe(why)}")
    return int(found.refused > 0)


def _row(found: Backlog) -> dict[str, object]:
    return {
        "waiting": found.waiting,
        "oldest_seconds": age_s(found.oldest) if found.waiting else None,
        "set_aside": found.refused,
        "problems": [{"id": id_text(id_), "problem": why} for id_, why in found.problems],
    }


def _run(app: Treadle, desk: Desk, name: str, options: _Options) -> int:
    configure(options["log_level"], options["log_format"])
    store = closed_store(app)
    store.open_now()
    try:
        if not (options["as_json"] or options["once"]):
            target = shown_url(app.settings.store)
            tell(f"Relaying {name} into {target}. Ctrl-C stops.")
        with _stopped_by_signals() as stop:
            one = Relay(desk, store, app.settings.outbox_poll)
            done = one.run(stop, once=options["once"])
    finally:
        store.close_now()
    document = {
        "outbox": name,
        "sent": done.sent,
        "set_aside": done.refused,
        "stands_by": done.stands_by,
    }
    _say(document, _summary(done), as_json=options["as_json"])
    return int(done.refused > 0)


def _summary(done: Relayed) -> str:
    if done.stands_by:
        return "Another relay works on this outbox; nothing is left to do here."
    said = f"{plural(done.sent, 'job')} relayed"
    if done.refused:
        said += f"; {done.refused:,} set aside, see `treadle relay --status`"
    return said + "."


def _say(document: object, text: str, *, as_json: bool) -> None:
    if as_json:
        print_document(document)
    else:
        click.echo(text)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set; the signals mean what they did afterwards."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
