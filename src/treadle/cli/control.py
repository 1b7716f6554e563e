"""The commands about a store as a whole: its queues, its workers, its health, its schema.

Pausing a queue stops claims from it and nothing else; purging cancels what waits in it and
leaves what runs alone.
"""

from __future__ import annotations

import asyncio

import click

from treadle.cli.reach import Reach, closed_store, prints_json, queue_name, reaches_store
from treadle.cli.transit.relay import make_outbox
from treadle.cli.view.document import print_document, queue_row, worker_row
from treadle.cli.view.findings import findings_document, findings_table, verdict
from treadle.cli.view.tables import console, queues_table, utc_now, workers_table
from treadle.cli.view.text import plural, shown_url
from treadle.core.errors import StoreUnavailable
from treadle.core.job import WAITING
from treadle.store.contract import Store
from treadle.store.doctor import examine
from treadle.store.findings import Finding, Level


@click.group()
def queues() -> None:
    """Look at queues, pause, resume or purge them."""


@queues.command("ls")
@prints_json
@reaches_store
def list_queues(reach: Reach, *, as_json: bool) -> None:
    """List queues with the number of their jobs in each state."""
    with reach.opened() as app:
        found = app.queues.list()
    if as_json:
        print_document({"queues": [queue_row(queue) for queue in found]})
    elif found:
        console().print(queues_table(found, utc_now()))
    else:
        click.echo("No queue has held a job so far.")


@queues.command()
@click.argument("name", type=queue_name)
@prints_json
@reaches_store
def pause(reach: Reach, name: str, *, as_json: bool) -> None:
    """Let no worker take jobs from a queue; what runs goes on."""
    with reach.opened() as app:
        changed = app.queues.pause(name)
    _report_pause(name, paused=True, changed=changed, as_json=as_json)


@queues.command()
@click.argument("name", type=queue_name)
@prints_json
@reaches_store
def resume(reach: Reach, name: str, *, as_json: bool) -> None:
    """Let workers take jobs from a queue again."""
    with reach.opened() as app:
        changed = app.queues.resume(name)
    _report_pause(name, paused=False, changed=changed, as_json=as_json)


def _report_pause(name: str, *, paused: bool, changed: bool, as_json: bool) -> None:
    if as_json:
        print_document({"queue": name, "paused": paused, "changed": changed})
        return
    state = "paused" if paused else "not paused"
    click.echo(f"Queue {name} is {state}{'' if changed else ', as it was before'}.")


@queues.command()
@click.argument("name", type=queue_name)
@click.option("--yes", is_flag=True, help="Do not ask.")
@prints_json
@reaches_store
def purge(reach: Reach, name: str, *, yes: bool, as_json: bool) -> None:
    """Cancel the jobs that wait in a queue; what runs goes on."""
    with reach.opened() as app:
        counts = app.queues.counts(name)
        waiting = sum(counts.get(state, 0) for state in WAITING)
        if not yes:
            question = f"Cancel {plural(waiting, 'waiting job')} of queue {name}?"
            click.confirm(question, abort=True, err=True)
        count = app.queues.purge(name)
    if as_json:
        print_document({"queue": name, "count": count})
    else:
        click.echo(f"{plural(count, 'job')} of queue {name} cancelled.")


@click.group()
def workers() -> None:
    """Look at workers."""


@workers.command("ls")
@prints_json
@reaches_store
def list_workers(reach: Reach, *, as_json: bool) -> None:
    """List the workers that are registered."""
    with reach.opened() as app:
        found = app.workers()
    if as_json:
        print_document({"workers": [worker_row(worker) for worker in found]})
    elif found:
        console().print(workers_table(found, utc_now()))
    else:
        click.echo("No worker is registered; start one with: treadle worker")


@click.command()
@prints_json
@reaches_store
def doctor(reach: Reach, *, as_json: bool) -> None:
    """Look for settings that would lose jobs, and for trouble.

    Nothing is changed. Exit code 0: nothing would lose jobs; 1: something would; 2: the store could
    not be opened.
    """
    app = reach.treadle()
    findings = asyncio.run(_examined(closed_store(app)))
    url = shown_url(app.settings.store)
    if as_json:
        print_document(findings_document(url, findings))
    else:
        console().print(findings_table(findings))
        click.echo(verdict(url, findings))
    if any(finding.level is Level.LOSES for finding in findings):
        click.get_current_context().exit(1)


async def _examined(store: Store) -> list[Finding]:
    try:
        await store.open(create=False)
        return await examine(store)
    finally:
        await store.close()


@click.command()
@prints_json
@reaches_store
def migrate(reach: Reach, *, as_json: bool) -> None:
    """Bring the store's schema up to date, or make the store.

    An application with an outbox gets its table, too, in the database that the setting names.
    """
    app = reach.treadle()
    make_outbox(app)
    before, after = asyncio.run(_migrated(closed_store(app)))
    url = shown_url(app.settings.store)
    if as_json:
        print_document({"store": url, "before": before, "after": after})
    elif before == after:
        click.echo(f"{url} is up to date: schema version {after}.")
    else:
        click.echo(f"{url}: schema version {before} before, {after} now.")


async def _migrated(store: Store) -> tuple[int, int]:
    """Migrate the store, or make it where there is none; give its version before and after."""
    try:
        try:
            return await store.migrate()
        except StoreUnavailable:
            # There is no store yet, or it is out of reach: opening tells, and makes it.
            await store.open(create=True)
            return 0, (await store.migrate())[1]
    finally:
        await store.close()
