"""I-26, a payment that failed for good goes aside, on-call is alerted, a ticket is opened.

Every job that ends like this is a dead letter by itself; nobody has to write that queue.
"""

from typing import Any

from treadle import Job, Retry, Treadle

app = Treadle("sqlite:///jobs.db")
alerts: list[str] = []


@app.task(retry=Retry(attempts=3, base=10))
def charge(payment: str) -> None:
    """Charge a card by a service that is away."""
    raise ConnectionError(f"no answer for {payment}")


@app.on_dead
def alert(job: Job[Any]) -> None:
    """Tell a person; `treadle dead replay` is what they do when the service is back."""
    alerts.append(f"ticket: {job.task}{job.args} failed {job.attempt} times: {job.error}")
