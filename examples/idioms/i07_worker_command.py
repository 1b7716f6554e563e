"""I-07, a function made a task and a command that works on it: `dramatiq module`.

The command is `treadle worker i07_worker_command:app`. What a task returns is kept, too.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


if __name__ == "__main__":
    count_words.enqueue("as quick as a fox")
