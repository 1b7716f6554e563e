"""I-08, put a call into a queue: `queue.enqueue(double, 5)`.

A program that does not have this code enqueues by name: `app.enqueue("double", 5)`.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(name="double")
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


if __name__ == "__main__":
    double.using(queue="low").enqueue(5)
