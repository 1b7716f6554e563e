"""The commands about tenants: ls, set.

What they show and set are weights; a tenant that nobody has set has the weight 1 and is not kept.
"""

from __future__ import annotations

import click

from treadle.cli.reach import Reach, prints_json, reaches_store, refused_as_usage
from treadle.cli.view.document import print_document
from treadle.cli.view.tables import Column, console, grid
from treadle.cli.view.text import safe
from treadle.client.tenants.control import Tenant

_COLUMNS: tuple[Column, ...] = (("TENANT", "left", "fold"), ("WEIGHT", "right", "whole"))


@click.group()
def tenants() -> None:
    """Look at the weights of tenants, or set them."""


@tenants.command("ls")
@prints_json
@reaches_store
def list_tenants(reach: Reach, *, as_json: bool) -> None:
    """List tenants whose weight is not 1, by name."""
    with reach.opened() as app:
        found = app.tenants()
    if as_json:
        print_document({"tenants": [_row(tenant) for tenant in found]})
    elif found:
        rows = [(safe(tenant.name), f"{tenant.weight:g}") for tenant in found]
        console().print(grid(_COLUMNS, rows))
    else:
        click.echo("No tenant has another weight than 1.")


@tenants.command("set")
@click.argument("name")
@click.argument("weight", type=float)
@prints_json
@reaches_store
def set_tenant(reach: Reach, name: str, weight: float, *, as_json: bool) -> None:
    """Give a tenant WEIGHT turns for one of the others.

    From 0.01 to 100; 1 is that of everybody. It counts for jobs that become ready from now on.
    """
    with reach.opened() as app, refused_as_usage():
        tenant = app.tenant(name, weight)
    if as_json:
        print_document(_row(tenant))
    else:
        click.echo(f"Tenant {safe(name)} has the weight {tenant.weight:g}.")


def _row(tenant: Tenant) -> dict[str, object]:
    return {"tenant": tenant.name, "weight": tenant.weight}
