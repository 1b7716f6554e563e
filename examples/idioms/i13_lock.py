"""I-13, a lock around a job: `redis.lock("report", timeout=30)`.

What is a timeout there is the lease here: it is prolonged while the block runs, so it only ends
when its holder has died, and it is given up by its own holder alone. The number of the hold goes
along, so that what it guards can refuse a holder who was away for too long. `timeout=` is how long
to wait for the lock, 60 seconds if nothing is said.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")
report: dict[str, int] = {"fence": 0, "rows": 0}


@app.task
def write_report(rows: int) -> int:
    """Write the report, one at a time over all machines."""
    with app.lock("report", lease=30) as lock:
        if lock.fence > report["fence"]:
            report.update(fence=lock.fence, rows=rows)
        return lock.fence
