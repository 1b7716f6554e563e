"""I-50, three queues: one worker for all of them in order, another one for the first alone.

`treadle worker i50_queues:app --queues critical,default,bulk`
`treadle worker i50_queues:app --queues critical`

So that bulk is never starved, give weights instead: `--queues critical=6,default=3,bulk=1`. One
worker that always has two slots for the first is `--reserve critical=2`.
"""

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def note(text: str) -> None:
    """Print a text."""
    print(text, flush=True)


if __name__ == "__main__":
    for queue in ("bulk", "default", "critical"):
        note.using(queue=queue).enqueue(f"from {queue}")
