"""I-53, a task queue inside a small program, with a store that is one file, as Huey does it.

Jobs that are left when the program stops are in the file and run the next time.
"""

import asyncio

from treadle import Treadle, Worker

app = Treadle("sqlite:///jobs.db")


@app.task
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


async def main() -> None:
    """Work on jobs beside whatever else the program does."""
    async with Worker(app):
        job = await add.aenqueue(1, 2)
        print(await job.aresult(timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
