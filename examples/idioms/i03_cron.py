"""I-03, at three in the morning, once, also when nothing was up at three.

`misfire="one"` is the default: after an outage the newest tick that was missed is made up for.
"""

from treadle import Cron, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Cron("0 3 * * *", tz="Europe/Berlin"))
@app.task
def report() -> None:
    """Write the report of the day."""
