"""The commands about single jobs: ls, show, explain, logs, cancel, retry.

Each prints a table or text for a person and, with `--json`, one document for a program. Ids are
whole: a shortened one could mean another job tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from treadle.app import Treadle
from treadle.cli.reach import Reach, given, job_id, prints_json, queue_name, reaches_store
from treadle.cli.view.document import job_document, job_row, log_row, print_document
from treadle.cli.view.job import log_line, print_job
from treadle.cli.view.tables import console, jobs_table
from treadle.cli.view.text import plural, safe
from treadle.core.errors import JobNotFound
from treadle.core.job import JobState
from treadle.job import PAGE_MAX, Job


@click.group()
def jobs() -> None:
    """Look at jobs, cancel them, run them again."""


@jobs.command("ls")
@click.option("--state", type=click.Choice([state.value for state in JobState]))
@click.option("--queue", type=queue_name)
@click.option("--task", help="The task's whole name.")
@click.option("--tag")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=20, show_default=True)
@click.option("--before", type=job_id, help="Go on after this job, the last one of a page.")
@prints_json
@reaches_store
def list_jobs(
    reach: Reach, *, limit: int, before: str | None, as_json: bool, **which: str | None
) -> None:
    """List jobs, the newest first."""
    with reach.opened() as app:
        page = app.jobs(limit=limit, cursor=before, **which)
        if as_json:
            print_document({"jobs": [job_row(job) for job in page], "before": page.cursor})
            return
        if not page:
            click.echo("No job is like that." if given(which) or before else "No job is stored.")
            return
        out = console()
        out.print(jobs_table(page, out.width))
    if page.cursor is not None:
        click.echo(f"\nFor older ones add: --before {page.cursor}", err=True)


@jobs.command()
@click.argument("job", metavar="ID", type=job_id)
@prints_json
@reaches_store
def show(reach: Reach, job: str, *, as_json: bool) -> None:
    """Show all that is known of a job."""
    with reach.opened() as app:
        found = app.job(job)
        if as_json:
            print_document(job_document(found))
        else:
            print_job(console(), found)


@jobs.command()
@click.argument("job", metavar="ID", type=job_id)
@prints_json
@reaches_store
def explain(reach: Reach, job: str, *, as_json: bool) -> None:
    """Tell why a job is in its state and what happens next."""
    with reach.opened() as app:
        text = app.job(job).explain()
    if as_json:
        print_document({"id": job, "explain": text})
    else:
        click.echo(safe(text, lines=True))


@jobs.command()
@click.argument("job", metavar="ID", type=job_id)
@prints_json
@reaches_store
def logs(reach: Reach, job: str, *, as_json: bool) -> None:
    """Print the lines that a job's task logged with ctx.log()."""
    with reach.opened() as app:
        lines = app.job(job).logs()
    if as_json:
        print_document({"id": job, "lines": [log_row(line) for line in lines]})
    elif lines:
        click.echo("\n".join(log_line(line) for line in lines))
    else:
        click.echo("This job has logged nothing; a task does so with ctx.log().", err=True)


@jobs.command()
@click.argument("ids", metavar="ID...", type=job_id, nargs=-1, required=True)
@prints_json
@reaches_store
def cancel(reach: Reach, ids: tuple[str, ...], *, as_json: bool) -> None:
    """Cancel jobs that have not ended.

    What runs is told within a second or so. Exit code 1 when one could not be cancelled.
    """
    with reach.opened() as app:
        results = [act(app, each, Job.cancel, "has ended already") for each in ids]
    report(results, as_json=as_json)


@jobs.command()
@click.argument("ids", metavar="ID...", type=job_id, nargs=-1, required=True)
@prints_json
@reaches_store
def retry(reach: Reach, ids: tuple[str, ...], *, as_json: bool) -> None:
    """Make jobs ready now, with all their attempts before them.

    Exit code 1 when one could not: succeeded and running jobs are left alone.
    """
    with reach.opened() as app:
        results = [act(app, each, Job.retry, "is left alone") for each in ids]
    report(results, as_json=as_json)


Result = dict[str, Any]


def act(app: Treadle, id_: str, verb: Callable[[Job[Any]], bool], refused: str) -> Result:
    """Carry a control verb to one job; tell what became of it."""
    try:
        job = app.job(id_)
        done = verb(job)
    except JobNotFound as error:
        return {"id": id_, "done": False, "state": None, "problem": str(error)}
    problem = None if done else f"it is {job.state} and {refused}"
    if problem and verb is Job.retry and job.key is not None and job.is_terminal:
        problem += f"; another job may hold its key: see `treadle jobs explain {id_}`"
    return {"id": id_, "done": done, "state": str(job.state), "problem": problem}


def report(results: list[Result], *, as_json: bool) -> None:
    """Print a line for each job, problems to standard error; end with 1 when there is one."""
    failed = [result for result in results if not result["done"]]
    if as_json:
        print_document({"results": results})
    else:
        for result in results:
            if result["done"]:
                click.echo(f"{result['id']}  {result['state'] or 'gone'}")
            else:
                click.echo(f"{result['id']}  not done: {safe(result['problem'])}", err=True)
        if len(results) > 1:
            done = len(results) - len(failed)
            click.echo(f"{done:,} of {plural(len(results), 'job')} done", err=True)
    if failed:
        click.get_current_context().exit(1)
