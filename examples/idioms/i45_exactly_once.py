"""I-45, a decorator that stores a result under a key for a day and gives it to who asks again.

There is no race between the check and the store: the store decides, and everybody waits for the
same job.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db", settings={"keep_succeeded": 86_400})


@app.task
def convert(document: str) -> str:
    """Convert a document."""
    return document.upper()


def convert_once(key: str, document: str) -> str:
    """Give the result of the one conversion of this key."""
    return convert.using(idempotency_key=key).enqueue(document).result(timeout=60)
