"""How is a job enqueued from a shell?

With the application's code at hand the arguments are bound to the task's signature and read back
as its worker will read them, so that a wrong one is an error here and not in the worker. With a
store alone the task is named and the arguments are stored as they are.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click
from msgspec import json

from treadle.app import Treadle
from treadle.cli.reach import Reach, given, prints_json, queue_name, reaches_store, seconds
from treadle.cli.view.document import print_document
from treadle.cli.view.text import listed, safe, shown_url
from treadle.client.plan import CallOptions
from treadle.core.errors import BadArguments, PayloadError
from treadle.core.job import PRIORITY_MAX, PRIORITY_MIN
from treadle.definition import Definition

_TASKS_SHOWN = 15


@click.command()
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("--kw", "keywords", multiple=True, metavar="KEY=VALUE", help="A keyword argument.")
@click.option("--queue", type=queue_name, help="Instead of the task's own queue.")
@click.option(
    "--priority", type=click.IntRange(PRIORITY_MIN, PRIORITY_MAX), help="Higher goes first."
)
@click.option("--delay", type=seconds, help="Wait before the first attempt: 30, 5m, 2h.")
@click.option("--json-args", is_flag=True, help="Refuse an argument that is not JSON.")
@prints_json
@reaches_store
def enqueue(
    reach: Reach,
    task: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    *,
    json_args: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 -- as read by click
) -> None:
    """Enqueue a job of TASK.

    An argument that is JSON is passed as such (12, true, '{"a": 1}'), any other one as text; text
    that looks like a number is written '"12"'. Put -- before arguments that begin with a dash.
    """
    values = [_value(each, strict=json_args) for each in args]
    named = dict(_keyword(each, strict=json_args) for each in keywords)
    chosen: CallOptions = given(options)  # type: ignore[assignment]  # the options are named alike
    with reach.opened(create=True) as app:
        if reach.has_code:
            _check(_definition(app, task), values, named)
        job = app.named(task).using(**chosen).enqueue(*values, **named)
        if as_json:
            row = {"id": job.id, "task": job.task, "queue": job.queue, "state": str(job.state)}
            print_document(row)
            return
        click.echo(job.id)
        click.echo(
            f"{safe(job.task)} is {job.state} in queue {job.queue} of "
            f"{shown_url(app.settings.store)}",
            err=True,
        )


def _value(text: str, *, strict: bool) -> object:
    """Read an argument as JSON when it is JSON, else as text."""
    try:
        return json.decode(text)
    except ValueError as error:
        if strict:
            raise click.UsageError(f"{safe(text)!r} is not JSON: {error}") from error
        return text


def _keyword(text: str, *, strict: bool) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise click.UsageError(f"--kw takes KEY=VALUE, not {safe(text)!r}")
    return key, _value(value, strict=strict)


def _definition(app: Treadle, task: str) -> Definition:
    """Find the task's code.

    Raises:
        UsageError: the application has no such task; names those that are like it.
    """
    definition = app.definition(task)
    if definition is not None:
        return definition
    near = get_close_matches(task, app.registry) or [
        name for name in app.registry if name.rpartition(".")[2] == task
    ]
    known = listed(near or sorted(app.registry), _TASKS_SHOWN) or "none"
    kind = "did you mean" if near else "its tasks are"
    raise click.UsageError(
        f"the application has no task {safe(task)!r}; {kind}: {known}. "
        "To enqueue by name without the code, give --store URL"
    )


def _check(definition: Definition, args: list[object], kwargs: dict[str, object]) -> None:
    """Read the call back as its worker will.

    Raises:
        UsageError: it does not fit the task's signature or annotations.
    """
    try:
        definition.spec.decode(definition.spec.encode(tuple(args), kwargs))
    except (BadArguments, PayloadError) as error:
        raise click.UsageError(
            f"{safe(str(error))}\nText that looks like a number or like JSON is passed as text "
            "when it is quoted twice: '\"12\"'"
        ) from error
