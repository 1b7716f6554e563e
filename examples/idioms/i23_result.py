"""I-23, is it ready, and what came out: `result.ready()`, `result.get(timeout=10)`.

Results are kept without a second back end; a failed job raises `JobFailed` with its error.
"""

from treadle import Job, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


def look(job: Job[int]) -> int | None:
    """Give the result when there is one already."""
    return job.result(timeout=10) if job.refresh().is_terminal else None
