"""I-11 and I-12, a call that comes twice is made once, by its key or by its own arguments.

The key is taken by the write that stores the job, so nothing can slip in between, and it is the
store's to forget. The hash of the arguments does not hang on the order of keys.
"""

from treadle import Job, Treadle, Unique

app = Treadle("sqlite:///jobs.db")


@app.task
def pay(order: int, cents: int) -> str:
    """Pay an order."""
    return f"order {order}: {cents / 100:.2f}"


@app.task(unique=Unique(window=3600))
def index(document: dict[str, str]) -> int:
    """Index a document, the same one at most once an hour."""
    return len(document)


def on_request(key: str, order: int, cents: int) -> Job[str]:
    """Give the job of a request, the same one when the request is sent again."""
    return pay.using(idempotency_key=key).enqueue(order, cents)
