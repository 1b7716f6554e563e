"""I-13, a lock around a job: `redis.lock("report", timeout=30)`.

It is prolonged while the block runs and given up by its own holder alone. Its number goes along,
so that what it guards can refuse a holder who was away for too long.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")
report: dict[str, int] = {"fence": 0, "rows": 0}


@app.task
def write_report(rows: int) -> int:
    """Write the report, one at a time over all machines."""
    with app.lock("report", timeout=30) as lock:
        if lock.fence > report["fence"]:
            report.update(fence=lock.fence, rows=rows)
        return lock.fence
