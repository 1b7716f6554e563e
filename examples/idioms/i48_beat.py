"""I-48, every six hours; daily at eight with arguments; every five minutes, but not too late.

Any number of workers may run this: there is no process that only watches the clock.
"""

from datetime import UTC, datetime

from treadle import Cron, Every, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Every(6 * 3600, anchor=datetime(2026, 1, 1, tzinfo=UTC)))
@app.task(name="sync")
def sync() -> None:
    """Fetch what has changed."""


@app.schedule(Cron("0 8 * * *", tz="Europe/Paris"), args=("daily",), kwargs={"pages": 3})
@app.task(name="digest")
def digest(kind: str, *, pages: int) -> str:
    """Send a digest."""
    return f"{kind}: {pages} pages"


@app.schedule(Cron("*/5 * * * *"), expires="next", overlap="allow")
@app.task(name="probe")
def probe() -> None:
    """Look whether all is well; a look that is late by a whole period is not worth making."""
