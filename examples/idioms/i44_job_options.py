"""I-44, priority, attempts, backoff, a record for a day; five at once, a hundred a minute.

What elsewhere is said with each job and each worker is said once, where the task is. The rate
holds for all workers together and for any minute, and a higher priority goes first. A process of
its own for each job, which BullMQ calls sandboxed, is not to be had here yet.
"""

from treadle import RateLimit, Retry, Treadle

app = Treadle("sqlite:///jobs.db", settings={"concurrency": 5})


@app.task(
    priority=10,
    retry=Retry(attempts=3, base=1),
    keep_result=24 * 3600,
    limits=RateLimit("100/m", window="sliding"),
)
def resize(image: str) -> str:
    """Make a small picture of a large one."""
    if image == "broken":
        raise ValueError("that is no picture")
    return f"small {image}"
