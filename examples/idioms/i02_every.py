"""I-02, every 30 seconds, in as many processes as you like: each tick runs once."""

from treadle import Every, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Every(30))
@app.task
async def refresh() -> None:
    """Do what is due."""
