"""The hands that carry out a plan's strokes, and take each of them back when its time is over.

What takes long (a server's restart, a full disk) goes to a thread of its own, one at a time, so
that the clock of the run goes on. `heal` ends everything that still lasts.
"""

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psycopg
import redis

from tests.faults import clocks, workload
from tests.torture.plan import Kind, Means, Stroke
from tests.torture.stage import Seat, Stage
from treadle import StoreError
from treadle.testing.faults import Spec
from treadle.testing.servers import Postgres

STORM_PAUSE_S: Final = 0.1
NTH_MAX: Final = 5
FILLER_SIZES: Final = (16_777_216, 1_048_576, 65_536, 4_096)
LONG_S: Final = 60.0


class Hands:
    """Strikes, remembers what must be taken back, and counts."""

    def __init__(self, stage: Stage, means: Means) -> None:
        self.stage = stage
        self.means = means
        self.struck: Counter[str] = Counter()
        self.kills: list[int] = []
        """When the store was killed, in milliseconds of the ledger's clock."""
        self._ends: dict[tuple[str, int], tuple[float, Callable[[], None]]] = {}
        self._slow = ThreadPoolExecutor(1, "torture-store")
        self._poisoner = ThreadPoolExecutor(1, "torture-poison")
        self._under_way: list[Future[None]] = []
        self._healing = threading.Event()
        self._poisons = 0

    def strike(self, stroke: Stroke) -> None:
        """Carry out a stroke."""
        self.struck[stroke.kind] += 1
        seat = self.stage.seats[stroke.seat]
        match stroke.kind:
            case "kill worker" | "kill producer":
                seat.kill()
            case "worker dies at":
                seat.armed = self._point(stroke.amount)
                seat.kill()
            case "poison":
                self._poisons += 1
                self._later(self._poisoner, self._poison, f"poison-{self._poisons}")
            case "stop worker":
                self._stop(seat, stroke.seconds)
            case "step clock":
                clocks.step(self.stage.offset, stroke.amount)
            case "reset" | "refuse" | "delay" | "lose answers" | "cut requests" | "swallow":
                self._network(seat, stroke)
            case _:
                self._later(self._slow, self._store, stroke)

    def take_back(self) -> None:
        """End what has lasted long enough."""
        for key in [key for key, (due, _) in self._ends.items() if due <= time.monotonic()]:
            self._ends.pop(key)[1]()
        for done in [future for future in self._under_way if future.done()]:
            self._under_way.remove(done)
            done.result()

    def heal(self) -> None:
        """End everything at once, and wait until the store is as it was."""
        self._healing.set()
        for _, end in self._ends.values():
            end()
        self._ends.clear()
        clocks.step(self.stage.offset, 0.0)
        for future in self._under_way:
            future.result(LONG_S)

    def let_go(self) -> None:
        """End the hands' own threads, whatever has happened."""
        self._healing.set()
        self._slow.shutdown(cancel_futures=True)
        self._poisoner.shutdown(cancel_futures=True)

    def _later(self, where: ThreadPoolExecutor, what: Callable[..., None], *words: object) -> None:
        self._under_way.append(where.submit(what, *words))

    def _lasts(self, what: str, seat: Seat, seconds: float, end: Callable[[], None]) -> None:
        self._ends[what, seat.number] = (time.monotonic() + seconds, end)

    # Processes

    def _point(self, amount: float) -> Spec:
        """Choose a fault point, and for which time it is reached, from one number below 1."""
        points = self.means.points
        place = min(int(amount * len(points)), len(points) - 1)
        return Spec(points[place], "kill", 1 + int(amount * 10_000) % NTH_MAX)

    def _stop(self, seat: Seat, seconds: float) -> None:
        process = seat.process
        if process is None or process.ended:
            return
        process.send(signal.SIGSTOP)

        def go_on() -> None:
            # It may have been killed meanwhile, which needs no end.
            if not process.ended:
                process.send(signal.SIGCONT)

        self._lasts("stop", seat, seconds, go_on)

    def _poison(self, key: str) -> None:
        ledger = self.stage.ledger
        app = workload.build(self.stage.url, ledger, {"store_timeout": 2.0})
        ledger.write("TRY", key)
        try:
            app.enqueue("die_async", key)
        except StoreError:
            ledger.write("ERR", key)
        else:
            ledger.write("OK", key)
        finally:
            with contextlib.suppress(StoreError):
                app.close()

    # The network

    def _network(self, seat: Seat, stroke: Stroke) -> None:
        proxy = seat.proxy
        assert proxy is not None, "a file has no network"
        start: dict[Kind, Callable[[], None]] = {
            "reset": proxy.reset,
            "refuse": proxy.refuse,
            "delay": lambda: proxy.delay(stroke.amount),
            "lose answers": proxy.lose_answers,
            "cut requests": lambda: proxy.cut_after(int(stroke.amount)),
            "swallow": proxy.swallow,
        }
        start[stroke.kind]()
        if stroke.kind == "reset":
            return

        def clear_up() -> None:
            # A connection that has lost bytes in its midst must not go on, as no real one would.
            if stroke.kind != "delay":
                proxy.refuse()
            proxy.heal()

        self._lasts("network", seat, stroke.seconds, clear_up)

    # The store

    def _store(self, stroke: Stroke) -> None:
        act: dict[Kind, Callable[[], None]] = {
            "restart cleanly": lambda: self._restart(None, stroke.seconds),
            "shut down at once": lambda: self._restart(signal.SIGQUIT, stroke.seconds),
            "kill store": lambda: self._restart(signal.SIGKILL, stroke.seconds),
            "end sessions": lambda: self._end_sessions(stroke.seconds),
            "flush scripts": self._flush_scripts,
            "lock": lambda: self._lock(stroke.seconds),
            "fill disk": lambda: self._fill(stroke.seconds),
        }
        act[stroke.kind]()

    def _restart(self, number: signal.Signals | None, seconds: float) -> None:
        server = self.stage.server
        assert server is not None, "a file is served by nobody"
        if number is None:
            server.end()
        else:
            server.end(number)
        if number is signal.SIGKILL:
            self.kills.append(time.monotonic_ns() // 1_000_000)
        self._healing.wait(seconds)
        server.start()

    def _end_sessions(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self.stage.url, autocommit=True, connect_timeout=5) as db,
        ):
            while time.monotonic() < until and not self._healing.is_set():
                db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where backend_type = 'client backend' and pid <> pg_backend_pid()"
                )
                self._healing.wait(STORM_PAUSE_S)

    def _flush_scripts(self) -> None:
        with redis.Redis.from_url(self.stage.url) as client:
            client.script_flush()

    def _lock(self, seconds: float) -> None:
        with contextlib.closing(sqlite3.connect(self.stage.file, timeout=LONG_S)) as db:
            db.isolation_level = None
            db.execute("begin immediate")
            self._healing.wait(seconds)
            db.execute("rollback")

    def _fill(self, seconds: float) -> None:
        assert self.stage.disk is not None, "drawn only where there is a small disk"
        filler = self.stage.disk / "filler"
        fill(filler)
        self._healing.wait(seconds)
        filler.unlink()
        server = self.stage.server
        # PostgreSQL ends where it cannot write its log, and may not recover on a full disk.
        if isinstance(server, Postgres) and (server.process is None or not alive(server)):
            server.end()
            server.start()


def alive(server: Postgres) -> bool:
    """Tell whether a server's process has not ended."""
    return server.process is not None and server.process.poll() is None


def fill(filler: Path) -> None:
    """Take every block of a disk that is left."""
    with filler.open("wb") as file:
        end = 0
        for size in FILLER_SIZES:
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), end, size)
                    end += size
