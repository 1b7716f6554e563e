"""I-47, failed jobs are kept aside, and `replay_dead_letters(limit=100)` runs them again.

A replay changes the state of the job where it is stored: there is no moment between a pop and
a push at which it could be lost.
"""

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")
prices: dict[str, int] = {}


@app.task(retry=Retry(attempts=1))
def price(product: str) -> int:
    """Look a price up."""
    return prices[product]


def replay_dead_letters(limit: int = 100) -> int:
    """Run the newest dead letters again; return how many."""
    return app.dead.replay(job.id for job in app.dead.list(limit=limit))
