"""The shop: the program that enqueues jobs. It does not wait for them; workers do the work.

`python -m examples.orders.shop check` enqueues a job for each row of the file of orders,
`... bill` a report and a mail for each customer whose orders were accepted. What the store
said yes to is written down in `enqueued.jsonl`, for the ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec import json

from examples.orders.app import Bill, app, check_order, place, send_bill, write_report
from examples.orders.place import ORDERS_CSV
from examples.orders.rows import Order, read_rows
from treadle import Job

_read_order = json.Decoder(Order).decode


def main(argv: Sequence[str]) -> None:
    """Carry out one of the two commands."""
    command, *rest = argv or ("",)
    customers = int(rest[0]) if rest else None
    if command == "check":
        rows = read_rows(ORDERS_CSV, customers)
        jobs: list[Job[Any]] = [*check_order.enqueue_many((row,) for row in rows)]
    elif command == "bill":
        jobs = bill_customers()
    else:
        raise SystemExit(f"there is no command {command!r}; there are check and bill")
    with place.enqueued.open("a", encoding="utf-8") as file:
        file.writelines(f'{{"id": "{job.id}", "task": "{job.task}"}}\n' for job in jobs)
    app.close()
    print(f"{len(jobs):,} jobs are stored.")


def bill_customers() -> list[Job[Any]]:
    """Enqueue a report and a mail for each customer with accepted orders."""
    customers: dict[str, list[Order]] = {}
    for order in read_accepted():
        customers.setdefault(order.customer_id, []).append(order)
    reports = write_report.enqueue_many(customers.items())
    mails = send_bill.enqueue_many((make_bill(orders),) for orders in customers.values())
    return [*reports, *mails]


def read_accepted() -> list[Order]:
    """Read the accepted orders, by id; a check that was done twice has left two equal lines."""
    lines = place.accepted.read_bytes().splitlines()
    orders = {order.order_id: order for order in map(_read_order, lines)}
    return [orders[key] for key in sorted(orders)]


def make_bill(orders: Sequence[Order]) -> Bill:
    """Sum up what one customer ordered."""
    last = orders[-1]
    total = sum((order.total for order in orders), Decimal())
    return Bill(last.customer_id, last.name, last.email, len(orders), total, last.currency)


if __name__ == "__main__":
    main(sys.argv[1:])
