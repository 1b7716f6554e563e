"""What is an order, and what makes a row of the shop's file a bad one?

Pure: a row of text in, an order or a `BadRow` out. The task around it is in `app`, where the
rows come from in `shop`, how the file was made in `generate`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

CURRENCIES: Final = frozenset({"CHF", "EUR", "GBP", "PLN", "SEK", "USD"})
_EMAIL: Final = re.compile(r"[a-z0-9.]+@[a-z0-9-]+(\.[a-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file, as it stands there."""

    order_id: str
    customer_id: str
    name: str
    email: str
    product: str
    quantity: str
    unit_price: str
    currency: str
    date: str
    country: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order that can be billed."""

    order_id: str
    customer_id: str
    name: str
    email: str
    product: str
    quantity: int
    unit_price: Decimal
    currency: str
    ordered_on: date

    @property
    def total(self) -> Decimal:
        """What the customer owes for it."""
        return self.quantity * self.unit_price


class BadRow(ValueError):  # noqa: N818 -- what it is, not that it is an error
    """A row that no attempt will ever make an order of.

    `kind` is the same for every row with the fault, so that bad rows can be counted by it.
    """

    def __init__(self, kind: str, value: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {value!r}")


def check(row: Row) -> Order:
    """Make an order of a row.

    Raises:
        BadRow: the row cannot be billed.
    """
    try:
        quantity, price = int(row.quantity), Decimal(row.unit_price)
    except (ValueError, InvalidOperation) as error:
        raise BadRow("not a number", f"{row.quantity} x {row.unit_price}") from error
    if quantity < 1:
        raise BadRow("negative quantity", row.quantity)
    if not _EMAIL.fullmatch(row.email):
        raise BadRow("broken e-mail address", row.email)
    if row.currency not in CURRENCIES:
        raise BadRow("unknown currency", row.currency)
    try:
        day = date.fromisoformat(row.date)
    except ValueError as error:
        raise BadRow("impossible date", row.date) from error
    return Order(
        order_id=row.order_id,
        customer_id=row.customer_id,
        name=row.name,
        email=row.email,
        product=row.product,
        quantity=quantity,
        unit_price=price,
        currency=row.currency,
        ordered_on=day,
    )


def read_rows(path: Path, customers: int | None = None) -> Iterator[Row]:
    """Read the rows of the file; with `customers`, only those of the first so many customers."""
    with path.open(encoding="utf-8", newline="") as file:
        for fields in csv.DictReader(file):
            row = Row(**fields)
            if customers is None or int(row.customer_id.removeprefix("C")) <= customers:
                yield row
