"""The stage of a torture run: a store, what serves it, and seats for workers and producers.

A seat is a process that is started again whenever it has ended, as a supervisor would. On a
server each seat has a network of its own to it, so that one can be cut off while others are not.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from tests.faults import clocks
from tests.faults.scene import SOURCES, Process
from tests.torture import crew
from treadle.testing.faults import Spec, reached
from treadle.testing.ledger import Ledger
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Postgres, Redis

SETTINGS: Final = {
    "TREADLE_LEASE": "2",
    "TREADLE_BEAT": "0.2",
    "TREADLE_SUSPECT_AFTER": "1",
    "TREADLE_STORE_TIMEOUT": "2",
    "TREADLE_POLL": "1",
}
START_AGAIN_S: Final = 1.0
"""Time between two starts of a seat: a worker without a store ends at once."""
DISK_MB: Final = {"sqlite": 400, "postgres": 800}
STOP_S: Final = 20.0


class Seat:
    """A place for a worker or a producer, with its network and its clock."""

    def __init__(self, number: int, role: str, stage: "Stage", clock: Mapping[str, str]) -> None:
        self.number = number
        self.role = role
        self.stage = stage
        self.clock = clock
        self.proxy = None if stage.server is None else Proxy(stage.server.port).start()
        self.process: Process | None = None
        self.armed: Spec | None = None
        """The fault at which the next incarnation dies."""
        self.doom: Spec | None = None
        """The fault at which this one dies, when it comes to it."""
        self.starts = 0
        self.pids: list[int] = []
        self._started_at = 0.0
        self._said_before = 0

    @property
    def url(self) -> str:
        """Where this seat's process finds the store."""
        stage = self.stage
        if stage.server is None or self.proxy is None:
            return stage.url
        return stage.url.replace(f":{stage.server.port}", f":{self.proxy.port}")

    def tend(self) -> None:
        """Start a process where there is none, not too often."""
        ended = self.process is None or self.process.ended
        if ended and time.monotonic() - self._started_at > START_AGAIN_S:
            self.start()

    def start(self) -> None:
        """Start the next incarnation."""
        self.starts += 1
        self._started_at = time.monotonic()
        command = [sys.executable]
        self.doom, self.armed = self.armed, None
        if self.doom is not None:
            command += ["-m", "treadle.testing.faults", str(self.doom), "--"]
        command += [str(Path(crew.__file__)), self.role, self.url, str(self.stage.ledger.path)]
        if self.role == "producer":
            name = f"p{self.number}r{self.starts}"
            command += [name, str(self.stage.seed * 1_000 + self.starts)]
        outside = {k: v for k, v in os.environ.items() if not k.startswith("TREADLE_")}
        environ = {**outside, "PYTHONPATH": SOURCES, **SETTINGS, **self.clock}
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        self.process = Process(command, environ, self.log)
        self.pids.append(self.process.child.pid)

    @property
    def log(self) -> Path:
        """Where all incarnations write."""
        return self.stage.folder / f"{self.role}-{self.number}.log"

    @property
    def met_its_doom(self) -> bool:
        """Tell whether it died as it was told, which may be as late as at its stop."""
        if self.doom is None:
            return False
        said = self.log.read_bytes()[self._said_before :].decode("utf-8", "replace")
        return reached(said, self.doom)

    def kill(self) -> None:
        """End it by SIGKILL; its successor comes with the next look."""
        if self.process is not None:
            self.process.kill()

    def end(self) -> None:
        """End the process and its network for good."""
        self.kill()
        if self.proxy is not None:
            self.proxy.stop()
        clocks.tidy(self.pids)


class Stage:
    """Everything that a run needs; made at its start and gone at its end."""

    def __init__(self, store: str, seed: int, appendfsync: str = "always") -> None:
        self.store = store
        self.seed = seed
        self.appendfsync = appendfsync
        self.server: Postgres | Redis | None = None
        self.disk: Path | None = None
        """The small disk on which the store lies; None where none can be mounted."""
        self.seats: list[Seat] = []
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        """Make the folder, the small disk and the server."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"treadle-torture-{self.store}-"))
        # A server of another user must reach its files below it.
        self.folder.chmod(0o711)
        self.ledger = Ledger(self.folder / "ledger.txt")
        self.offset = self.folder / "clock"
        clocks.step(self.offset, 0.0)
        with ExitStack() as undo:
            if self.store in DISK_MB:
                self.disk = undo.enter_context(small_disk(self.folder, DISK_MB[self.store]))
            if self.store == "postgres":
                self.server = Postgres(self.disk, max_wal_size="128MB", min_wal_size="32MB")
            elif self.store == "redis":
                self.server = Redis("--appendfsync", self.appendfsync)
            if self.server is not None:
                undo.enter_context(self.server)
            self._ends = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process, then the server and the disk; the folder stays, see `tidy`."""
        for seat in self.seats:
            seat.end()
        self._ends.close()

    @property
    def url(self) -> str:
        """Where the store is, with no failing network between."""
        return f"sqlite:///{self.file}" if self.server is None else self.server.url

    @property
    def file(self) -> Path:
        """SQLite's file."""
        return (self.disk or self.folder) / "jobs.db"

    def fill(self, workers: int, producers: int) -> None:
        """Make the seats, nobody on them yet."""
        for number in range(workers + producers):
            role = "worker" if number < workers else "producer"
            # On one machine there is one clock; in a fleet each machine's may be wrong.
            odd = self.server is None or number in (0, workers)
            moved = odd and clocks.library() is not None
            clock = clocks.steered(self.offset) if moved else {}
            self.seats.append(Seat(number, role, self, clock))

    def of(self, role: str) -> list[Seat]:
        """Give the seats of a role."""
        return [seat for seat in self.seats if seat.role == role]

    def tend(self) -> None:
        """Look after every seat."""
        for seat in self.seats:
            seat.tend()

    def stop(self, role: str) -> list[int]:
        """Stop the processes of a role as one should, and give their exit codes.

        One that was to die at a fault point that it comes to only as it leaves did as it was told.
        """
        seats = [(seat, seat.process) for seat in self.of(role) if seat.process is not None]
        for _, process in seats:
            if not process.ended:
                process.child.terminate()
        codes = []
        for seat, process in seats:
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            codes.append(0 if seat.met_its_doom else code)
        return codes

    def tidy(self) -> None:
        """Delete the folder with the ledger and the logs."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """Mount a disk of so many megabytes; give None where that is not allowed."""
    disk = folder / "disk"
    disk.mkdir(mode=0o711)
    options = f"size={megabytes}m,mode=711"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False, capture_output=True
    )
    if done.returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
