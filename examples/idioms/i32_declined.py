"""I-32, a declined payment is an answer and not retried; a gateway that is away is.

Only what `on` names is tried again; everything else is a dead letter at once, with its error.
"""

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


class DeclinedError(Exception):
    """The bank said no."""


@app.task(retry=Retry(attempts=5, on=(ConnectionError,)))
def charge(card: str, cents: int) -> str:
    """Charge a card; say what came of it."""
    try:
        return ask_gateway(card, cents)
    except DeclinedError as no:
        return f"declined: {no}"


def ask_gateway(card: str, cents: int) -> str:
    """Stand for a payment service."""
    if card == "away":
        raise ConnectionError("the gateway does not answer")
    if card == "empty":
        raise DeclinedError("insufficient funds")
    return f"paid {cents}"
