"""I-30 and I-36, answer at once with a job id and a URL, and tell there how the job stands.

What a route of any framework would return. The job is stored before the answer is given.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def make_report(month: str) -> str:
    """Make a report."""
    return f"/reports/{month}.pdf"


def post_report(month: str) -> dict[str, object]:
    """POST /reports, answered with 202."""
    job = make_report.enqueue(month)
    return {"job_id": job.id, "status_url": f"/jobs/{job.id}"}


def get_job(job_id: str) -> dict[str, object]:
    """GET /jobs/{id}; an unknown id raises `JobNotFound`, a 404."""
    job = app.job(job_id)
    return {
        "status": job.state,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "result": job.result() if job.state == "succeeded" else None,
        "error": job.error,
        "is_terminal": job.is_terminal,
    }
