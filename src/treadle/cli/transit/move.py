"""The command `treadle move`: schedules, waiting and dead jobs leave one store for another.

How is in `treadle.transit.moving`. Exit codes: 0 when nothing is left behind, 1 when something is
(jobs that run, that were refused, or that came meanwhile) or after Ctrl-C, 2 when a store could
not be used.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict, Unpack
from urllib.parse import parse_qsl, urlsplit

import click
from rich.console import Console
from rich.progress import Progress

from treadle.cli.reach import prints_json, seconds
from treadle.cli.view.document import print_document
from treadle.cli.view.text import plural, safe, shown_url
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.ids import id_text
from treadle.core.settings import load_settings
from treadle.store.contract import Store
from treadle.store.open import open_store, sqlite_path
from treadle.store.parts.moving import PARCELS_MAX, SameStore
from treadle.transit.moving import MOVES, Move, Report, move_name

_WAIT_S = 3_600.0


class _Options(TypedDict):
    """What the command takes."""

    source: str
    target: str
    from_namespace: str
    to_namespace: str
    dry_run: bool
    wait: float
    as_json: bool


@click.command()
@click.option("--from", "source", required=True, metavar="URL", help="The store to leave.")
@click.option("--to", "target", required=True, metavar="URL", help="The store to go to.")
@click.option("--from-namespace", default="default", show_default=True, metavar="NAME")
@click.option("--to-namespace", default="default", show_default=True, metavar="NAME")
@click.option("--dry-run", is_flag=True, help="Say what would be moved; change nothing.")
@click.option(
    "--wait",
    is_flag=False,
    flag_value=str(int(_WAIT_S)),
    default="0",
    type=seconds,
    metavar="DURATION",
    help="Wait so long for jobs that run, and move what they leave. [1h without a value]",
)
@prints_json
def move(**options: Unpack[_Options]) -> None:
    """Move schedules, waiting jobs and dead letters to another store.

    No tick of a schedule is fired in both. Jobs keep their ids and all that belongs to them, and
    leave the old store: a job is never to be run in both. Stopped or killed anywhere, the same
    command goes on where it was. What runs stays and is told; ended jobs and their results stay.

    Exit code 1: something is left in the old store; 2: a store could not be used.
    """
    try:
        report = asyncio.run(_moved(options))
    except KeyboardInterrupt:
        click.echo("Stopped. No job is lost; the same command goes on from here.", err=True)
        click.get_current_context().exit(1)
    if options["as_json"]:
        print_document(_document(report, options))
    else:
        click.echo(_told(report, dry_run=options["dry_run"]), nl=False)
    click.get_current_context().exit(0 if report.whole or options["dry_run"] else 1)


async def _moved(options: _Options) -> Report:
    source = _store(options["source"], options["from_namespace"])
    target = _store(options["target"], options["to_namespace"])
    places = (
        _place(options["source"], options["from_namespace"]),
        _place(options["target"], options["to_namespace"]),
    )
    if places[0] == places[1]:
        raise StoreError(f"--from and --to name the same store, {places[0]}")
    try:
        await source.open(create=False)
        there = not (options["dry_run"] and _is_no_file_yet(options["target"]))
        if there:
            await target.open(create=not options["dry_run"])
        if options["dry_run"]:
            return await Move(source, target, move_name(*places), _ignore).survey(there=there)
        counts: Counter[str] = Counter()
        for queue in await source.queues():
            counts.update(queue.counts)
        total = sum(counts[state] for state in MOVES)
        with _progress(total, as_json=options["as_json"]) as tell:
            one = Move(source, target, move_name(*places), tell)
            return await one.run(wait=options["wait"])
    except SameStore:
        raise
    except StoreUnavailable as error:
        if options["dry_run"]:
            raise
        raise StoreUnavailable(
            f"{error}. No job is lost: some may rest on their way until the same command is given "
            "again, which goes on from here"
        ) from error
    finally:
        await source.close()
        await target.close()


def _store(url: str, namespace: str) -> Store:
    settings = load_settings({"store": url, "namespace": namespace})
    store = open_store(url, namespace, settings)
    if not store.features.shared:
        raise StoreUnavailable(f"{shown_url(url)} lives in the memory of one process: name a file")
    return store


def _is_no_file_yet(url: str) -> bool:
    """Tell whether the target is a SQLite file that the move would make."""
    return url.startswith("sqlite:") and not sqlite_path(url).exists()


def _place(url: str, namespace: str) -> str:
    """Name a store in the same words whoever logs in, so that a move knows itself again."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return f"{sqlite_path(url).resolve()} {namespace}"
    hosts = parts.netloc.rpartition("@")[2]
    schema = dict(parse_qsl(parts.query)).get("schema", "")
    scheme = parts.scheme.replace("postgresql", "postgres").replace("rediss", "redis")
    return f"{scheme}://{hosts}{parts.path.rstrip('/')} {schema} {namespace}"


@contextmanager
def _progress(total: int, *, as_json: bool) -> Iterator[Callable[[int], object]]:
    """Give how a bar goes on; there is one on a terminal, for more than a moment's work."""
    if as_json or total <= PARCELS_MAX or not sys.stderr.isatty():
        yield _ignore
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Moving", total=total)
        yield lambda moved: bar.advance(task, moved)


def _ignore(moved: int) -> None:
    """Show nothing."""


def _document(report: Report, options: _Options) -> dict[str, object]:
    queues: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(report.moved.items()):
        queues.setdefault(queue, {})[state] = count
    return {
        "dry_run": options["dry_run"],
        "from": shown_url(options["source"]),
        "to": shown_url(options["target"]),
        "moved": queues,
        "there_already": report.there,
        "refused": report.refused,
        "refusals": [{"id": id_text(one.id), "why": one.why} for one in report.refusals],
        "running": report.running,
        "left": report.waiting,
        "other_moves": report.foreign,
        "without_their_keys": report.keys,
        "lost_keys": [{"id": id_text(one.id), "key": one.key} for one in report.lost_keys],
        "schedules": {
            "moved": report.schedules.count,
            "names": report.schedules.names,
            "refused": report.schedules.refused,
            "refusals": [{"name": n, "why": why} for n, why in report.schedules.refusals],
        },
    }


def _told(report: Report, *, dry_run: bool) -> str:
    verb = "would move" if dry_run else "moved"
    total = sum(report.moved.values())
    lines = [f"{plural(total, 'job')} {verb}."]
    lines += [
        f"  {safe(queue):<20} {state:<10} {count:>9,}"
        for (queue, state), count in sorted(report.moved.items())
    ]
    if report.there:
        lines.append(f"{plural(report.there, 'job')} of them were there already.")
    if report.keys:
        goes = "would go" if dry_run else "went"
        lines.append(f"{plural(report.keys, 'job')} {goes} without the keys that they held:")
        named = [f"{id_text(one.id)}  {one.key}" for one in report.lost_keys]
        lines += _names(named, report.keys)
    if report.schedules.count:
        lines.append(f"{plural(report.schedules.count, 'schedule')} {verb}:")
        lines += _names(report.schedules.names, report.schedules.count)
    lines += _left(report, dry_run=dry_run)
    return "\n".join([*lines, ""])


def _names(names: Sequence[str], total: int) -> list[str]:
    more = [f"  and {total - len(names):,} more"] if total > len(names) else []
    return [*(f"  {safe(name)}" for name in names), *more]


def _left(report: Report, *, dry_run: bool) -> list[str]:
    """Say what stays, and what to do about it."""
    lines = []
    stay = "would stay" if dry_run else "stay"
    if report.schedules.refused:
        count = report.schedules.refused
        lines.append(f"{plural(count, 'schedule')} {stay}, because they cannot go:")
        named = [f"{name}: {why}" for name, why in report.schedules.refusals]
        lines += _names(named, count)
    if report.refused:
        lines.append(f"{plural(report.refused, 'job')} {stay}, because they cannot go:")
        lines += [f"  {id_text(one.id)}  {safe(one.why)}" for one in report.refusals]
    if report.running:
        lines.append(
            f"{plural(report.running, 'job')} running in the old store: stop its workers, or let "
            "them end (--wait), and give the same command again."
        )
    came = report.waiting - report.refused
    if came > 0:
        lines.append(
            f"{plural(came, 'job')} still waiting in the old store: something enqueues there, or "
            "workers hand jobs back; give the same command again when that has stopped."
        )
    if report.foreign:
        lines.append(
            f"{plural(report.foreign, 'job')} belong to another move that did not end: give that "
            "command again, with the same --from and --to."
        )
    return lines
