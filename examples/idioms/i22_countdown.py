"""I-22, in five minutes, but not after an hour, before others: `apply_async(countdown=300, ...)`.

What waits is in the store, not in a worker's memory, so a restart loses and doubles nothing.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def remind(user: str) -> str:
    """Remind a user."""
    return f"dear {user}, your basket is waiting"


later = remind.using(delay=300, expires=3600, priority=9)

if __name__ == "__main__":
    later.enqueue("ada")
