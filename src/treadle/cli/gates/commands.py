"""The commands about gates: look, pause, resume, set, reset.

Pausing a gate starts nothing that has to pass it and ends nothing that has passed.
"""

from __future__ import annotations

import click

from treadle.cli.reach import Reach, prints_json, reaches_store, refused_as_usage, seconds
from treadle.cli.view.document import print_document
from treadle.cli.view.gates import gate_row, gates_table
from treadle.cli.view.tables import console, utc_now
from treadle.cli.view.text import safe
from treadle.core.gates.gate import TASK
from treadle.core.gates.limits import Concurrency, Limit, RateLimit


@click.group()
def gates() -> None:
    """Look at the gates of limits, pause, resume or set them."""


@gates.command("ls")
@prints_json
@reaches_store
def list_gates(reach: Reach, *, as_json: bool) -> None:
    """List gates with what they bound, what runs and what waits."""
    with reach.opened() as app:
        found = app.gates.list()
    if as_json:
        print_document({"gates": [gate_row(gate) for gate in found]})
    elif found:
        console().print(gates_table(found, utc_now()))
    else:
        click.echo("No job has named a gate of late.")


@gates.command()
@click.argument("name")
@click.option("--note", default="", help="Why, for whoever looks.")
@click.option("--for", "lasting", type=seconds, help="Resume by itself after so long: 30, 10m, 2h.")
@click.option("--key", help="Of a task: hold only the jobs of this key of its limit.")
@prints_json
@reaches_store
def pause(
    reach: Reach,
    name: str,
    *,
    note: str,
    lasting: float | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Start no job behind this gate, or of a task (task:NAME).

    What runs goes on.
    """
    with reach.opened() as app, refused_as_usage():
        if key is not None:
            app.tasks.pause(_task(name), key=key, note=note, lasting=lasting)
            known = True
        else:
            task = name.removeprefix(TASK) if name.startswith(TASK) else ""
            known = app.gates.get(name) is not None or app.definition(task) is not None
            app.gates.pause(name, note=note, lasting=lasting)
    slip = "" if known or not name.startswith(TASK) else "; no task of this name is known here"
    said = f"{_called(name, key)} is paused{slip or _unless(known=known)}."
    document: dict[str, object] = {"gate": name, "key": key, "paused": True, "known": known}
    _report(document, said, as_json=as_json)


@gates.command()
@click.argument("name")
@click.option("--key", help="Of a task: the key that was paused.")
@prints_json
@reaches_store
def resume(reach: Reach, name: str, *, key: str | None, as_json: bool) -> None:
    """Let jobs pass this gate again, or those of a task: task:NAME."""
    with reach.opened() as app, refused_as_usage():
        of_key = key is not None
        changed = app.tasks.resume(_task(name), key=key) if of_key else app.gates.resume(name)
    said = f"{_called(name, key)} is not paused{'' if changed else ', as it was before'}."
    document: dict[str, object] = {"gate": name, "key": key, "paused": False, "changed": changed}
    _report(document, said, as_json=as_json)


@gates.command("set")
@click.argument("name")
@click.argument("limit")
@click.option("--burst", type=int, help="Of a rate: how many may start together.")
@click.option("--sliding", is_flag=True, help="Of a rate: in any such time, wherever it begins.")
@click.option("--change-kind", is_flag=True, help="Let it bound something else than it does.")
@prints_json
@reaches_store
def set_gate(
    reach: Reach,
    name: str,
    limit: str,
    *,
    burst: int | None,
    sliding: bool,
    change_kind: bool,
    as_json: bool,
) -> None:
    """Bound this gate to LIMIT: `5` run at once, `10/m` start."""
    with reach.opened() as app, refused_as_usage():
        known = app.gates.get(name) is not None
        app.gates.set(name, _limit(limit, burst, sliding=sliding), change_kind=change_kind)
    how = " in a sliding window" if sliding else ""
    said = f"Gate {safe(name)} is set to {safe(limit)}{how}, whatever its jobs say"
    document: dict[str, object] = {
        "gate": name, "limit": limit, "burst": burst, "sliding": sliding, "known": known
    }  # fmt: skip
    _report(document, f"{said}{_unless(known=known)}.", as_json=as_json)


@gates.command()
@click.argument("name")
@prints_json
@reaches_store
def reset(reach: Reach, name: str, *, as_json: bool) -> None:
    """Let the next job that is enqueued say what this gate bounds."""
    with reach.opened() as app, refused_as_usage():
        changed = app.gates.reset(name)
    said = f"Gate {safe(name)} {'follows its jobs again' if changed else 'was not set'}."
    _report({"gate": name, "changed": changed}, said, as_json=as_json)


def _task(name: str) -> str:
    """Give the task whose key is meant.

    Raises:
        ValueError: it is a gate's name, which holds its key already.
    """
    if not name.startswith(TASK):
        raise ValueError(
            f"--key goes with a task, as in {TASK}NAME; the gate of a key has it in its name, as "
            f"in '{name}:KEY'"
        )
    return name.removeprefix(TASK)


def _called(name: str, key: str | None) -> str:
    if not name.startswith(TASK):
        return f"Gate {safe(name)}"
    of = "" if key is None else f", key {safe(key)},"
    return f"Task {safe(name.removeprefix(TASK))}{of}"


def _unless(*, known: bool) -> str:
    """Say what a slip in the name looks like; a gate may be shut before its first job, too."""
    return "" if known else "; no job has named it of late"


def _limit(text: str, burst: int | None, *, sliding: bool) -> Limit:
    if "/" in text:
        return RateLimit(text, burst=burst, window="sliding" if sliding else None)
    if burst is not None or sliding:
        raise ValueError("--burst and --sliding go with a rate such as 10/m")
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no limit; write a number such as 5, or a rate such as 10/m")
    return Concurrency(int(text))


def _report(document: dict[str, object], said: str, *, as_json: bool) -> None:
    if as_json:
        print_document(document)
    else:
        click.echo(said)
