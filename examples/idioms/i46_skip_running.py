"""I-46, `sync_user_data` that skips when it is already running for that user.

The key belongs to the job: it stays when the worker dies and the job runs again, and is free with
the job's end, so no stale lock is left behind.
"""

from treadle import Treadle, Unique

app = Treadle("sqlite:///jobs.db")


@app.task(unique=Unique(key="{user}", on_conflict="skip"))
def sync_user_data(user: int) -> str:
    """Fetch what is new of a user."""
    return f"user {user} is up to date"
