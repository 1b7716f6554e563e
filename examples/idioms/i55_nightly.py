"""I-55, clean up at midnight, on the clock of the wall and once a day, whatever clocks do."""

from treadle import Cron, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Cron("@daily", tz="America/New_York"))
@app.task(name="clean_up")
def clean_up() -> None:
    """Delete what is old."""
