"""I-35, a webhook, and what is known of those that could not be delivered.

Task, payload, error, attempts and time are kept with each dead letter, without a table for it.
"""

import socket

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(retry=Retry(attempts=3, base=10, on=(OSError,)))
def deliver(host: str, port: int, payload: dict[str, str]) -> None:
    """Hand a payload over."""
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(repr(payload).encode())


def undelivered() -> list[dict[str, object]]:
    """List what could not be delivered."""
    return [
        {
            "task": job.task,
            "payload": job.args[2],
            "error": job.error,
            "attempts": job.attempt,
            "failed_at": job.finished_at,
        }
        for job in app.dead.list(task=deliver.name)
    ]
