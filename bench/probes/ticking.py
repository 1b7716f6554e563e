"""A fleet whose schedules are all due at one instant: is each tick run once, and how late?

    python -m bench.probes.ticking URL FILE

is one worker of it, until SIGTERM: each job notes schedule, tick and lateness in FILE. `fleet`
starts several and reads what they noted.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from treadle import Context, Treadle, Worker

_WAIT_S = 20.0
_POLL_S = 0.1

Note = tuple[str, str, float]
"""Which schedule, which tick, how late in seconds."""


def read(file: Path) -> list[Note]:
    """Read what has been noted; a line that is being written is not there yet."""
    whole = file.read_text().rpartition("\n")[0]
    lines = [line.split("|") for line in whole.splitlines()]
    return [(schedule, tick, float(late)) for schedule, tick, late in lines]


@contextmanager
def fleet(url: str, workers: int, file: Path) -> Iterator[None]:
    """Run so many worker processes; each has started when the block begins.

    Raises:
        TimeoutError: one has not started in time.
    """
    command = [sys.executable, "-m", "bench.probes.ticking", url, str(file)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]  # noqa: S603
    try:
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise TimeoutError(f"worker {process.args!r} did not start; see what it says")
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.communicate(timeout=_WAIT_S)


def lateness(url: str, workers: int, ticks: int, rounds: int) -> dict[str, list[float]]:
    """Let a fleet work until so many instants of so many ticks are over; give each one's lateness.

    The first and the last instant do not count: the fleet may start or stop in the midst of them.

    Raises:
        AssertionError: a tick was run twice, or an instant has not all of its ticks.
        TimeoutError: they were not over in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notes"
        file.touch()
        with fleet(url, workers, file):
            deadline = time.monotonic() + _WAIT_S + 4 * rounds
            while len({tick for _, tick, _ in read(file)}) < rounds + 2:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"only {len(read(file))} ticks were run in time")
                time.sleep(_POLL_S)
        noted = read(file)
    return judged(noted, ticks, rounds)


def judged(noted: Sequence[Note], ticks: int, rounds: int) -> dict[str, list[float]]:
    """Call each tick to account; give how late the jobs of each counted instant were, sorted.

    Raises:
        AssertionError: as for `lateness`.
    """
    doubled = [one for one, many in Counter((s, t) for s, t, _ in noted).items() if many > 1]
    assert not doubled, f"{len(doubled)} ticks were run more than once, as {doubled[0]}"
    by_tick = defaultdict(list)
    for _, tick, late in noted:
        by_tick[tick].append(late)
    counted = sorted(by_tick)[1 : rounds + 1]
    missing = {tick: len(by_tick[tick]) for tick in counted if len(by_tick[tick]) != ticks}
    assert not missing, f"not every instant has {ticks} jobs: {missing}"
    return {tick: sorted(by_tick[tick]) for tick in counted}


def make_app(url: str, file: Path) -> Treadle:
    """Make an application whose task notes how late it starts."""
    app = Treadle(url)
    out = os.open(file, os.O_WRONLY | os.O_APPEND)

    @app.task(name="tick", retry=1)
    async def tick(ctx: Context) -> None:
        now, due = datetime.now(UTC), ctx.tick
        if due is not None:
            said = f"{ctx.job.schedule}|{due.isoformat()}|{(now - due).total_seconds()}\n"
            os.write(out, said.encode())

    return app


async def work(app: Treadle) -> None:
    """Work until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(app):
        print("ready", flush=True)
        await stop.wait()
    await app.aclose()


if __name__ == "__main__":
    asyncio.run(work(make_app(sys.argv[1], Path(sys.argv[2]))))
