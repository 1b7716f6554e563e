"""I-33, an order that is done is not done again, and the charge outside has a key of its own.

Placed again it is the same job, for as long as that is remembered; after that the order itself says
that it is done. The charge goes by the order's number, so one whose answer was lost is found again
by the payment service, from any attempt of any job. Where a call has no such number,
`ctx.idempotency_key` is the same in every attempt of its job.
"""

from treadle import Context, Retry, Treadle, context

app = Treadle("sqlite:///jobs.db")
charges: dict[str, int] = {}
paid: set[int] = set()


def charge(key: str, cents: int) -> int:
    """Charge a card as payment services do: once for each key."""
    return charges.setdefault(key, cents)


@app.task(retry=Retry(attempts=3, on=(ConnectionError,)))
def process_order(order: int, cents: int, ctx: Context = context()) -> str:  # noqa: B008
    """Charge an order; the first answer is lost on the way."""
    if order not in paid:
        charge(f"order-{order}", cents)
        if ctx.attempt == 1:
            raise ConnectionError("no answer from the payment service")
        paid.add(order)
    return f"order {order} is paid"


def place(order: int, cents: int) -> str:
    """Place an order, however often it is sent; give the id of its job."""
    return process_order.using(idempotency_key=f"order-{order}").enqueue(order, cents).id
