"""I-05, call it later: `add.delay(1, 2)`.

Here the call is checked against the function's signature, by mypy and again when it is stored.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


if __name__ == "__main__":
    add.enqueue(1, 2)
