"""The shop's tasks: check an order, write a customer's report, mail a customer.

Read this file for how tasks are written; it needs nothing of the demo around it. The rules
of an order are in `rows`, who enqueues these tasks in `shop`. A worker for them:
`treadle worker examples.orders.app:app`.
"""

from __future__ import annotations

import asyncio
import smtplib
import time
from dataclasses import dataclass
from decimal import Decimal
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final

from msgspec import json

from examples.orders.place import Place
from examples.orders.rows import BadRow, Order, Row, check
from treadle import Context, Reject, Retry, Treadle, context

app = Treadle()  # The store is the one that TREADLE_STORE names.
place = Place.of_environment()

FRAUD_CHECK_S: Final = 0.06 * place.pace
DRAWING_S: Final = 0.04 * place.pace
PERMANENT: Final = 500
"""From this code on a mail server's answer is final (RFC 5321, section 4.2.1)."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a customer is told by mail."""

    customer_id: str
    name: str
    email: str
    orders: int
    total: Decimal
    currency: str


# A name of its own outlives a move of the function to another module.
@app.task(name="check_order", queue="orders", keep_result=False)
async def check_order(row: Row, ctx: Context = context()) -> None:  # noqa: B008 -- documented
    """Accept an order, or put it aside for good: a bad row is as bad in the next attempt."""
    await asyncio.sleep(FRAUD_CHECK_S)  # Stands for a call to a service that spots fraud.
    try:
        order = check(row)
    except BadRow as bad:
        ctx.log(f"{row.order_id} of {row.name}: {bad}", level="warning")
        raise Reject(bad.kind) from bad
    # One short write at the end of the file: writers of several processes do not mix.
    with place.accepted.open("ab", buffering=0) as file:
        file.write(json.encode(order) + b"\n")


@app.task(name="write_report", queue="reports")
def write_report(customer_id: str, orders: list[Order]) -> Decimal:
    """Write a customer's report; an attempt that dies halfway leaves no half report."""
    total = sum((order.total for order in orders), Decimal())
    lines = [f"Orders of {orders[0].name} ({customer_id})", ""]
    lines += [
        f"{order.ordered_on}  {order.order_id}  {order.quantity:3} x {order.product:<24}"
        f" {order.total:>10} {order.currency}"
        for order in orders
    ]
    lines += ["", f"Total: {total} {orders[0].currency} for {len(orders)} orders"]
    time.sleep(DRAWING_S)  # Stands for drawing; a sync task has a thread of its own.
    unfinished = place.reports / f".{customer_id}.unfinished"
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    unfinished.replace(place.reports / f"{customer_id}.txt")
    return total


@app.task(
    name="send_bill",
    queue="mail",
    timeout=20,
    retry=Retry(attempts=5, base=0.5, cap=5, on=(OSError, smtplib.SMTPException)),
)
def send_bill(bill: Bill, ctx: Context = context()) -> None:  # noqa: B008 -- documented
    """Mail a customer; a server that is busy is asked again, a final no is not."""
    with smtplib.SMTP(
        "127.0.0.1", place.smtp_port, local_hostname="shop.example.com", timeout=10
    ) as server:
        try:
            server.send_message(_letter(bill, ctx.idempotency_key))
        except smtplib.SMTPRecipientsRefused as refusal:
            code, text = refusal.recipients[bill.email]
            if code >= PERMANENT:
                raise Reject(f"{code} {text.decode(errors='replace')}") from refusal
            ctx.log(f"the mail server answered {code}; {bill.email} is tried again")
            raise


def _letter(bill: Bill, key: str) -> EmailMessage:
    """Write the mail; its id is the same in each attempt, so that a reader sees doubles."""
    letter = EmailMessage()
    letter["Message-ID"] = f"<{key}@shop.example.com>"
    letter["From"] = "billing@shop.example.com"
    letter["To"] = Address(bill.name, addr_spec=bill.email)
    letter["Subject"] = f"Your {bill.orders} orders: {bill.total} {bill.currency}"
    letter.set_content(
        f"Dear {bill.name},\n\nyour orders come to {bill.total} {bill.currency}. Thank you.\n"
    )
    return letter
