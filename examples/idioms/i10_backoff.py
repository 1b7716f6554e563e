"""I-10, waits that double and stop growing: `min(60, 2 ** attempt)` seconds.

Each wait is drawn from its upper half, so jobs that failed together do not come back together.
"""

import socket

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(retry=Retry(attempts=8, base=2, cap=60))
def ping(host: str, port: int) -> None:
    """Reach a server."""
    socket.create_connection((host, port), timeout=5).close()
