"""I-51, do it after the answer: `threading.Thread(target=send_email, args=...).start()` in a view.

The job is stored when `enqueue` returns, so it outlives this process and is tried again.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def send_email(to: str) -> str:
    """Pretend to send a mail."""
    return f"sent to {to}"


def view(to: str) -> str:
    """Answer at once."""
    send_email.enqueue(to)
    return "thank you"
