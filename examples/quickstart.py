"""treadle in twenty lines: a task, a job, its result.

Start a worker in this folder with `treadle worker quickstart:app`, and in a second terminal run
`python quickstart.py`. The store is one file, jobs.db.
"""

from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(queue="email", retry=Retry(attempts=5, on=(ConnectionError,)), timeout=30)
async def send_email(to: str, subject: str) -> str:
    """Pretend to send a mail."""
    print(f"sending {subject!r} to {to}")
    return f"sent to {to}"


if __name__ == "__main__":
    job = send_email.enqueue("a@example.com", subject="hi")
    print(f"stored: {job.id}")
    print(job.result(timeout=60))
