"""I-41, one set of defaults for several tasks, as a base task class gives them.

A decorator with its options is a value like any other; there is no class to inherit from.
"""

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")
reliable = app.task(queue="billing", retry=Retry(attempts=8, cap=600), timeout=300)


@reliable
def invoice(order: int) -> str:
    """Write an invoice."""
    return f"invoice {order}"


@reliable
def refund(order: int) -> str:
    """Pay back."""
    return f"refund {order}"
