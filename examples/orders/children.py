"""Starting and ending the processes of a run: the mail server, the shop, the workers.

Each is a program of its own, started as a person would start it, and prints into a log file
in the run's folder. When the driver ends, whatever the reason, none of them is left.
"""

from __future__ import annotations

import select
import subprocess
import sys
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from examples.orders.place import PROJECT, Place

APP: Final = "examples.orders.app:app"
SLOTS: Final = 16
START_S: Final = 10.0
END_S: Final = 5.0


class ChildError(RuntimeError):
    """A process ended badly or did not do in time what it was started for."""


class Children:
    """The processes of one run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        """Where the run keeps its files; once the mail server runs, with its port."""
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        """The workers that are alive, by the name that the demo gives them."""
        self._all: list[subprocess.Popen[bytes]] = []

    def start_mail_server(self) -> int:
        """Start the mail server; return its port.

        Raises:
            ChildError: it has not named its port in time.
        """
        server = self._start("mail", "examples.orders.smtp", piped=True)
        assert server.stdout is not None
        if not select.select([server.stdout], [], [], START_S)[0]:
            raise ChildError(f"the mail server named no port within {START_S:g} s")
        answer = server.stdout.readline().strip()
        if not answer.isdigit():
            raise ChildError(f"the mail server did not start; see {self.place.log('mail')}")
        self.place = replace(self.place, smtp_port=int(answer))
        return self.place.smtp_port

    def run_shop(self, *words: str) -> None:
        """Let the shop carry out one command.

        Raises:
            ChildError: it failed, or took too long.
        """
        shop = self._start("shop", "examples.orders.shop", *words)
        try:
            code = shop.wait(START_S)
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"the shop's {words[0]} took more than {START_S:g} s") from error
        if code:
            log = self.place.log("shop")
            raise ChildError(f"the shop's {words[0]} ended with exit code {code}; see {log}")

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker; it is ready when the store knows it."""
        words = ("worker", APP, "--concurrency", str(SLOTS), "--log-level", "warning")
        worker = self.workers[name] = self._start(name.replace(" ", "-"), "treadle", *words)
        return worker

    def kill_worker(self, name: str) -> None:
        """Kill a worker as a power cut would: it cannot tidy up."""
        worker = self.workers.pop(name)
        worker.kill()
        worker.wait(END_S)

    def check_workers(self) -> None:
        """Look whether every worker still runs.

        Raises:
            ChildError: one has ended by itself.
        """
        for name, worker in self.workers.items():
            if worker.poll() is not None:
                log = self.place.log(name.replace(" ", "-"))
                raise ChildError(f"{name} ended with exit code {worker.returncode}; see {log}")

    def stop_workers(self) -> dict[str, int]:
        """Stop the workers gracefully, as a deploy does; return their exit codes.

        Raises:
            ChildError: one has not stopped in time.
        """
        for worker in self.workers.values():
            worker.terminate()
        try:
            codes = {name: worker.wait(END_S) for name, worker in self.workers.items()}
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"a worker has not stopped within {END_S:g} s") from error
        self.workers.clear()
        return codes

    def __enter__(self) -> Self:
        """Begin; nothing is started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process that is left, at once: what was to end gracefully has ended."""
        for process in self._all:
            process.kill()
            process.wait(END_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _start(
        self, name: str, module: str, *words: str, piped: bool = False
    ) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE if piped else None
        with self.place.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 -- the demo's own programs
                [sys.executable, "-m", module, *words],
                cwd=PROJECT,
                env=self.place.environment(),
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
            )
        self._all.append(process)
        return process
