"""Processes: start one, watch what it and its children cost, and end it for sure.

Every process started here leads a session of its own and is ended by its id: politely first,
then by killing the group it leads. Costs are read from `/proc`, so the benchmarks need Linux.
Decides nothing about what to run; see `environments.py` for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLITE_STOP_S = 8.0
LOG_TAIL_LINES = 15
_POLL_S = 0.02
_STACKS_S = 0.5


class BenchError(Exception):
    """A measurement could not be made; the text says what was run and what it printed."""


class TimedOutError(BenchError):
    """What was waited for did not come true in time."""


@dataclass(frozen=True)
class Cost:
    """Memory and processor time of a process and its descendants at one instant."""

    cpu_s: float
    rss_mb: float
    pss_mb: float
    processes: int


class Running:
    """A started process, its log file and what it costs."""

    def __init__(self, process: subprocess.Popen[bytes], command: Sequence[str], log: Path) -> None:
        """Wrap `process`, which writes both its outputs to `log`."""
        self.process = process
        self.command = command
        self.log = log

    def check_alive(self) -> None:
        """Do nothing while the process runs.

        Raises:
            BenchError: it has ended; the end of its log is in the message.
        """
        code = self.process.poll()
        if code is not None:
            raise BenchError(f"{' '.join(self.command)} ended with code {code}:\n{tail(self.log)}")

    def cost(self) -> Cost:
        """Return what this process and its descendants use now."""
        ids = _descendants(self.process.pid)
        return Cost(
            cpu_s=sum(_cpu_s(one) for one in ids),
            rss_mb=sum(_smaps_mb(one, "Rss:") for one in ids),
            pss_mb=sum(_smaps_mb(one, "Pss:") for one in ids),
            processes=len(ids),
        )

    def stacks(self) -> str:
        """Let a process that knows SIGUSR1 write all of its stacks to its log; return those.

        To any other process that signal would be its end: see `bench/ours/app.py`.
        """
        before = self.log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)
        # It writes while it does something else, maybe nothing at all: nobody says when.
        time.sleep(_STACKS_S)
        return self.log.read_bytes()[before:].decode(errors="replace")

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL to its group when that did not do."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLITE_STOP_S)
        # Children of a worker that was killed would go on holding the store and the cores.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(POLITE_STOP_S)


@contextlib.contextmanager
def started(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
) -> Iterator[Running]:
    """Start `command`, hand it out while it runs, and end it whatever happens.

    Raises:
        BenchError: the program could not be started.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 -- commands come from this folder only
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchError(
                f"cannot start {command[0]}: {error}; `make bench` makes its environments"
            ) from error
    running = Running(process, command, log)
    try:
        yield running
    finally:
        running.stop()


def run_to_end(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, timeout_s: float
) -> None:
    """Run a program to its end, its output in `log`.

    Raises:
        BenchError: it ended with an error or took longer than `timeout_s`.
    """
    with started(command, env=env, cwd=cwd, log=log) as running:
        try:
            code = running.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BenchError(
                f"{' '.join(command)} took longer than {timeout_s:.0f} s:\n{tail(log)}"
            ) from error
    if code != 0:
        raise BenchError(f"{' '.join(command)} ended with code {code}:\n{tail(log)}")


def run_json(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, timeout_s: float
) -> dict[str, object]:
    """Run a program of ours to its end and return the JSON object on its last output line.

    Raises:
        BenchError: it failed, took longer than `timeout_s` or printed no JSON object.
    """
    run_to_end(command, env=env, cwd=cwd, log=log, timeout_s=timeout_s)
    lines = log.read_text(errors="replace").splitlines() or [""]
    try:
        answer = json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise BenchError(f"{' '.join(command)} gave no answer:\n{tail(log)}") from error
    if not isinstance(answer, dict):
        raise BenchError(f"{' '.join(command)} answered with {answer!r}, not with an object")
    return answer


def wait_until(
    done: Callable[[], bool], *, timeout_s: float, what: str, workers: Sequence[Running] = ()
) -> None:
    """Look at `done` every 20 ms until it is true, while all `workers` live.

    Raises:
        TimedOutError: `timeout_s` passed before `what` came true.
        BenchError: a worker ended.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        for worker in workers:
            worker.check_alive()
        if time.monotonic() >= deadline:
            logs = "\n".join(tail(worker.log) for worker in workers)
            raise TimedOutError(f"{what} did not happen within {timeout_s:.0f} s\n{logs}")
        time.sleep(_POLL_S)


def tail(log: Path) -> str:
    """Return the last lines of a log file, for error messages."""
    if not log.exists():
        return "(no output)"
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:]) or "(no output)"


def _descendants(process: int) -> list[int]:
    """Return `process` and everything it started that still lives."""
    found = [process]
    for one in found:  # grows while it is walked; ends because process trees are finite
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in children.read_text().split())
    return found


def _cpu_s(process: int) -> float:
    """Return user and system time of one process, in seconds, to the kernel's clock tick."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _smaps_mb(process: int, label: str) -> float:
    """Return one total of `/proc/<pid>/smaps_rollup` in MB of 1,000,000 bytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    kilobytes = sum(int(line.split()[1]) for line in lines if line.startswith(label))
    return kilobytes * 1024 / 1e6
