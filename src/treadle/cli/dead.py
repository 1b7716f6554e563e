"""The commands about dead letters: ls, groups, replay, discard.

A dead letter is a job in `failed`: it will not run again by itself. Jobs are chosen by id, or by a
filter with an optional limit; all of them only when that is said.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack, cast

import click

from treadle.app import Treadle
from treadle.cli.jobs import act, report
from treadle.cli.reach import (
    Command,
    Reach,
    given,
    job_id,
    prints_json,
    queue_name,
    reaches_store,
)
from treadle.cli.view.document import group_row, job_row, print_document
from treadle.cli.view.tables import console, dead_table, groups_table, utc_now
from treadle.cli.view.text import plural
from treadle.client.dead import ACT_MAX, DeadFilter
from treadle.job import PAGE_MAX


@click.group()
def dead() -> None:
    """Look at dead letters, replay or discard them."""


def _filters(command: Command) -> Command:
    """Add the options that choose dead letters."""
    for option in (
        click.option("--reason", help="Why they died: exhausted, poison, ..."),
        click.option("--tag"),
        click.option("--task", help="The task's whole name."),
        click.option("--queue", type=queue_name),
    ):
        command = option(command)
    return command


@dead.command("ls")
@_filters
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=20, show_default=True)
@click.option("--before", type=job_id, help="Go on after this job, the last one of a page.")
@prints_json
@reaches_store
def list_dead(
    reach: Reach, *, limit: int, before: str | None, as_json: bool, **which: str | None
) -> None:
    """List dead letters, the newest first."""
    with reach.opened() as app:
        page = app.dead.list(limit=limit, cursor=before, **which)
        if as_json:
            print_document({"jobs": [job_row(job) for job in page], "before": page.cursor})
            return
        if not page:
            click.echo("No dead letter is like that." if given(which) else "No dead letters.")
            return
        console().print(dead_table(page))
    if page.cursor is not None:
        click.echo(f"\nFor older ones add: --before {page.cursor}", err=True)


@dead.command()
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=50, show_default=True)
@prints_json
@reaches_store
def groups(reach: Reach, *, limit: int, as_json: bool) -> None:
    """Count dead letters by task, reason and error."""
    with reach.opened() as app:
        found = app.dead.groups(limit)
    if as_json:
        print_document({"groups": [group_row(group) for group in found]})
    elif found:
        console().print(groups_table(found, utc_now()))
    else:
        click.echo("No dead letters.")


def _choice(command: Command) -> Command:
    """Add what `replay` and `discard` share: ids, or --all, or a filter with a limit."""
    command = click.argument("ids", metavar="[ID]...", type=job_id, nargs=-1)(command)
    command = click.option("--all", "every", is_flag=True, help="All dead letters.")(command)
    limit = click.IntRange(1, ACT_MAX)
    command = click.option("--limit", type=limit, help="At most so many.")(command)
    return _filters(command)


class _Choice(TypedDict):
    """What the options of `_choice` give."""

    every: bool
    limit: int | None
    queue: str | None
    task: str | None
    tag: str | None
    reason: str | None


_Verb = Literal["replay", "discard"]


@dead.command()
@_choice
@prints_json
@reaches_store
def replay(reach: Reach, ids: tuple[str, ...], *, as_json: bool, **choice: Unpack[_Choice]) -> None:
    """Make dead letters ready, with all attempts before them."""
    _check_choice(ids, choice)
    with reach.opened() as app:
        _carry_out(app, "replay", ids, choice, as_json=as_json)


@dead.command()
@_choice
@click.option("--yes", is_flag=True, help="Do not ask.")
@prints_json
@reaches_store
def discard(
    reach: Reach, ids: tuple[str, ...], *, yes: bool, as_json: bool, **choice: Unpack[_Choice]
) -> None:
    """Delete dead letters for good."""
    _check_choice(ids, choice)
    with reach.opened() as app:
        if not (ids or yes):
            click.confirm("Delete these dead letters for good?", abort=True, err=True)
        _carry_out(app, "discard", ids, choice, as_json=as_json)


def _check_choice(ids: tuple[str, ...], choice: _Choice) -> None:
    """Check that the choice is one: ids, or all, or a filter.

    Raises:
        UsageError: it is none, or two at once.
    """
    if ids and (choice["every"] or choice["limit"] or _filter_of(choice)):
        raise click.UsageError("give ids, or --all with filters; not both")
    if not (ids or choice["every"] or _filter_of(choice)):
        raise click.UsageError("say which: ids, --task, --queue, --tag, --reason, or --all")


def _filter_of(choice: _Choice) -> DeadFilter:
    filters = {name: choice.get(name) for name in DeadFilter.__annotations__}
    return cast("DeadFilter", given(filters))


def _carry_out(
    app: Treadle, verb: _Verb, ids: tuple[str, ...], choice: _Choice, *, as_json: bool
) -> None:
    """Replay or discard, and report: each job by itself when ids were given, else the count."""
    if ids:
        report([_one(app, verb, each) for each in ids], as_json=as_json)
        return
    count = _act(app, verb, _filter_of(choice), choice["limit"])
    if as_json:
        print_document({"count": count})
    else:
        done = "made ready again" if verb == "replay" else "deleted"
        click.echo(f"{plural(count, 'dead letter')} {done}.")


def _one(app: Treadle, verb: _Verb, id_: str) -> dict[str, Any]:
    """Replay or discard one dead letter; a job in another state is a problem of its own line."""
    result = act(app, id_, lambda job: getattr(app.dead, verb)([job.id]) > 0, "no dead letter")
    if result["done"]:
        result["state"] = "ready" if verb == "replay" else "discarded"
    return result


def _act(app: Treadle, verb: _Verb, which: DeadFilter, limit: int | None) -> int:
    """Replay or discard by a filter; with a limit, the newest of them."""
    act_on = getattr(app.dead, verb)
    if limit is None:
        return int(act_on(**which))
    ids: list[str] = []
    cursor: str | None = None
    while len(ids) < limit:
        page = app.dead.list(limit=min(limit - len(ids), PAGE_MAX), cursor=cursor, **which)
        ids += [job.id for job in page]
        cursor = page.cursor
        if cursor is None:
            break
    return int(act_on(ids)) if ids else 0
