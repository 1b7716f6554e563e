"""I-06, the task asks for its own retry: `raise self.retry(exc, countdown=60)`, five of them.

No task is bound to anything, and `attempts` bounds it even when nobody thinks of it.
"""

import socket

from treadle import Retry, RetryLater, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(retry=Retry(attempts=6))
def ping(host: str, port: int) -> None:
    """Reach a server, now or a minute later."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise RetryLater(str(error), delay=60) from error
