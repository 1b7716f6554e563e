"""I-21, retries by themselves: 3 of them, exponential, at most 600 s apart, with jitter.

Jitter is on unless it is turned off, so that jobs that failed together come back apart.
"""

import socket

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(retry=Retry(attempts=4, base=1, cap=600, on=(OSError,)))
def ping(host: str, port: int) -> None:
    """Reach a server."""
    socket.create_connection((host, port), timeout=5).close()
