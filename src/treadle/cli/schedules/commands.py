"""The commands about schedules: ls, preview, pause, resume, skip, trigger, backfill, remove."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from treadle.cli.reach import Reach, prints_json, reaches_store
from treadle.cli.view.document import print_document
from treadle.cli.view.schedules import schedule_row, schedules_table, tick_row, ticks_table
from treadle.cli.view.tables import console, utc_now
from treadle.cli.view.text import plural, safe
from treadle.client.schedules.backfill import BACKFILL_MAX
from treadle.client.schedules.look import LIST_MAX
from treadle.client.schedules.schedules import SKIP_MAX
from treadle.client.schedules.views import ScheduleInfo

_PREVIEW_MAX = 1_000


@click.group()
def schedules() -> None:
    """Look at schedules, pause, trigger or backfill them."""


@schedules.command("ls")
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=100, show_default=True)
@click.option("--after", default="", metavar="NAME", help="Go on after this schedule.")
@prints_json
@reaches_store
def list_schedules(reach: Reach, *, limit: int, after: str, as_json: bool) -> None:
    """List schedules by name."""
    with reach.opened() as app:
        found = app.schedules.list(after=after, limit=limit)
    if as_json:
        print_document({"schedules": [schedule_row(schedule) for schedule in found]})
    elif found:
        console().print(schedules_table(found, utc_now()))
    else:
        click.echo("No schedules; those declared in code are stored when a worker starts.")


@schedules.command()
@click.argument("name")
@click.option("--count", type=click.IntRange(1, _PREVIEW_MAX), default=10, show_default=True)
@prints_json
@reaches_store
def preview(reach: Reach, name: str, *, count: int, as_json: bool) -> None:
    """Show the next ticks, and what clock changes do to them."""
    with reach.opened() as app:
        schedule = app.schedules.get(name)
        ticks = app.schedules.preview(name, count)
    if as_json:
        document = {"schedule": name, "words": schedule.words}
        print_document(document | {"ticks": [tick_row(tick) for tick in ticks]})
        return
    click.echo(safe(f"{name}: {schedule.words}"))
    console().print(ticks_table(ticks, utc_now()))


@schedules.command()
@click.argument("name")
@click.option("--note", default="", help="Why, for whoever looks next.")
@click.option("--by", help="Who; default: the user that runs this command.")
@prints_json
@reaches_store
def pause(reach: Reach, name: str, *, note: str, by: str | None, as_json: bool) -> None:
    """Let a schedule stand still; its running jobs go on."""
    with reach.opened() as app:
        _report(app.schedules.pause(name, note, by=by), "is paused", as_json=as_json)


@schedules.command()
@click.argument("name")
@prints_json
@reaches_store
def resume(reach: Reach, name: str, *, as_json: bool) -> None:
    """Let a schedule go on from now.

    The ticks of its pause become no jobs.
    """
    with reach.opened() as app:
        _report(app.schedules.resume(name), "goes on", as_json=as_json)


@schedules.command()
@click.argument("name")
@click.option("--count", type=click.IntRange(0, SKIP_MAX), default=1, show_default=True)
@prints_json
@reaches_store
def skip(reach: Reach, name: str, *, count: int, as_json: bool) -> None:
    """Let the next ticks become no jobs."""
    with reach.opened() as app:
        said = f"skips {plural(count, 'tick')}"
        _report(app.schedules.skip(name, count), said, as_json=as_json)


def _report(schedule: ScheduleInfo, said: str, *, as_json: bool) -> None:
    if as_json:
        print_document(schedule_row(schedule))
        return
    following = "" if schedule.next is None else f"; its next tick: {schedule.next:%F %T} UTC"
    click.echo(safe(f"Schedule {schedule.name} {said}{following}."))


@schedules.command()
@click.argument("name")
@prints_json
@reaches_store
def trigger(reach: Reach, name: str, *, as_json: bool) -> None:
    """Make a job of a schedule now; its ticks stay as they are."""
    with reach.opened() as app:
        job = app.schedules.trigger(name)
    if as_json:
        print_document({"schedule": name, "job": job.id})
    else:
        click.echo(job.id)


def _instant(text: str) -> datetime:
    """Read an instant: ISO 8601 with a time zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write 2026-03-01T09:00+01:00") from error
    if found.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone; for UTC write {text}Z")
    return found.astimezone(UTC)


@schedules.command()
@click.argument("name")
@click.option("--from", "start", type=_instant, required=True, help="The first instant.")
@click.option("--to", "end", type=_instant, required=True, help="The instant after the last.")
@click.option("--limit", type=click.IntRange(1, BACKFILL_MAX), default=BACKFILL_MAX)
@prints_json
@reaches_store
def backfill(
    reach: Reach, name: str, *, start: datetime, end: datetime, limit: int, as_json: bool
) -> None:
    """Make the jobs of past ticks that are not there.

    Those that are there are left alone.
    """
    with reach.opened() as app:
        try:
            done = app.schedules.backfill(name, start, end, limit=limit)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        print_document(
            {"made": done.made, "there": done.there, "until": done.until, "complete": done.complete}
        )
        return
    rest = "" if done.complete else f"; there is more: --from {done.until.isoformat()}"
    click.echo(f"{plural(done.made, 'job')} made, {done.there} there already{rest}.")


@schedules.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@prints_json
@reaches_store
def remove(reach: Reach, name: str, *, yes: bool, as_json: bool) -> None:
    """Delete a schedule; its jobs stay."""
    with reach.opened() as app:
        schedule = app.schedules.get(name)
        if not yes:
            origin = " It is declared in code." if schedule.declared else ""
            click.confirm(f"Delete schedule {safe(name)}?{origin}", abort=True, err=True)
        done = app.schedules.remove(name)
    if as_json:
        print_document({"schedule": name, "removed": done})
    else:
        click.echo(safe(f"Schedule {name} {'is removed' if done else 'was not there'}."))


@schedules.command()
@click.option("--force", is_flag=True, help="Though newer code has declared others of late.")
@prints_json
@reaches_store
def declare(reach: Reach, *, force: bool, as_json: bool) -> None:
    """Store the schedules that the code declares.

    A worker does so when it starts.
    """
    if not reach.has_code:
        raise click.UsageError("this needs the code that declares them: --app module:app")
    with reach.opened(create=True) as app:
        diff = app.schedules.declare(force=force)
    if as_json:
        document = {"added": diff.added, "changed": diff.changed, "removed": diff.removed}
        print_document(document | {"left_alone": diff.left_alone})
    else:
        click.echo(safe(str(diff)))
