"""I-42, explicit waits by attempt: 10 s, a minute, five minutes.

`jitter=False` keeps them exact; without it each is drawn from its upper half.
"""

import socket

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(retry=Retry(attempts=4, delays=[10, 60, 300], jitter=False))
def ping(host: str, port: int) -> None:
    """Reach a server."""
    socket.create_connection((host, port), timeout=5).close()
