"""What every test gets: one Hypothesis profile, a clean environment and leak checks.

A test that leaves a thread, a child process or an unfinished asyncio task behind fails
here, because in production the same slip is a worker that does not stop. The checks are
autouse fixtures; a test cannot forget them. Fixtures that only some tests need live in a
`conftest.py` of their folder.
"""

import contextlib
import logging
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from treadle.testing.servers import (
    NoServerError,
    Postgres,
    Redis,
    pgbouncer_program,
    postgres_programs,
    redis_program,
)

LEAK_WAIT_S: Final = 10.0
"""How long a thread that is already ending may take before it counts as left behind."""

# Started once a process by the standard library and kept by it on purpose.
KEPT_CHILDREN: Final = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# Servers that somebody else runs, for this session alone; read before the tests hide them.
_SERVERS: Final[dict[str, Callable[[], object]]] = {
    "TREADLE_TEST_POSTGRES": postgres_programs,
    "TREADLE_TEST_REDIS": redis_program,
}
_FROM_OUTSIDE: Final = {name: os.environ[name] for name in _SERVERS if name in os.environ}
_session: Final[set[int]] = set()
"""Servers that this session started for all its tests; they end with it."""
TASK_LEAKS: Final = ("Task was destroyed but it is pending", "exception was never retrieved")

# No deadline, and no draw is too slow: a shared machine pauses at will. The blob replays a failure
# found elsewhere.
settings.register_profile(
    "treadle",
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("treadle")


def pytest_report_header() -> list[str]:
    """Say which servers there are to be tested on, and of which version."""
    found: list[str] = []
    for find in (_postgres_program, redis_program, pgbouncer_program):
        with contextlib.suppress(NoServerError):
            words = [find(), "--version"]
            done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
            found += [f"server: {line}, {words[0]}" for line in done.stdout.splitlines()[:1]]
    return [*found, *(f"server: {name} gives the session's" for name in _FROM_OUTSIDE)]


def _postgres_program() -> str:
    return str(postgres_programs() / "postgres")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Say which stores were not tested, and how a failed session is replayed."""
    for variable, find in _SERVERS.items():
        with contextlib.suppress(NoServerError):
            if variable not in os.environ:
                find()
            continue
        terminalreporter.write_line(f"NOT TESTED, there is no server: set {variable}")
    try:
        pgbouncer_program()
    except NoServerError as error:
        terminalreporter.write_line(f"NOT TESTED behind a pooler: {error}")
    seed: object = config.getoption("randomly_seed", default=None)
    if exitstatus == pytest.ExitCode.TESTS_FAILED and seed is not None:
        terminalreporter.write_line(f'replay: make test ARGS="--randomly-seed={seed}"')


def _unserved(error: NoServerError) -> NoReturn:
    """Skip a test whose server cannot be had here, by name; in CI fail it."""
    if "CI" in os.environ:
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Look out for fixtures without a server, the session's or one of their own."""
    try:
        yield
    except NoServerError as error:
        _unserved(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Look out for tests without a server of their own."""
    try:
        yield
    except NoServerError as error:
        _unserved(error)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give the URL of a real Redis server, all keys of which belong to this session."""
    yield from _served("TREADLE_TEST_REDIS", Redis)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of a database on a real PostgreSQL server that belongs to this session."""
    yield from _served("TREADLE_TEST_POSTGRES", Postgres)


def _served(variable: str, make: type[Postgres | Redis]) -> Iterator[str]:
    """Give a server from outside, or one of this session's own."""
    given = _FROM_OUTSIDE.get(variable)
    if given is not None:
        yield given
        return
    with make() as server:
        assert server.process is not None, "it was started just now"
        _session.add(server.process.pid)
        yield server.url


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the `TREADLE_*` variables of the person at the keyboard: they may name a live store."""
    for name in [name for name in os.environ if name.startswith("TREADLE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail a test after which a thread lives that would hold up the end of the process."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not t.daemon]
    for thread in left:
        thread.join(LEAK_WAIT_S / len(left))
    names = [thread.name for thread in left if thread.is_alive()]
    assert not names, f"threads still running after the test: {names}; stop them in the test"


@pytest.fixture(autouse=True)
def _no_child_left() -> Iterator[None]:
    """Fail a test that leaves a child process running, or one that nobody waited for."""
    before = _children()
    yield
    multiprocessing.active_children()  # Collects the exit codes of those that have ended.
    left = {pid: line for pid, line in _children().items() if pid not in before}
    assert not left, f"child processes left after the test: {left}; end and wait for them"


@pytest.fixture(autouse=True)
def _no_asyncio_task_left() -> Iterator[None]:
    """Fail a test in which asyncio reports a task that was dropped or an error nobody read."""
    seen = _Messages()
    logger = logging.getLogger("asyncio")
    logger.addHandler(seen)
    try:
        yield
    finally:
        logger.removeHandler(seen)
    left = [text for text in seen.texts if any(leak in text for leak in TASK_LEAKS)]
    assert not left, f"asyncio reported: {left}; await or cancel each task in the test"


class _Messages(logging.Handler):
    """Keep the text of each error that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's text."""
        self.texts.append(record.getMessage())


def _children() -> dict[int, str]:
    """Name the child processes by id; empty on a system without Linux's `/proc`.

    A child that ends while it is looked at is not a leak, so it is left out.
    """
    found: dict[int, str] = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in _read(listing).split():
            line = _read(Path("/proc", pid, "cmdline")).replace("\0", " ").strip()
            if int(pid) not in _session and not any(kept in line for kept in KEPT_CHILDREN):
                found[int(pid)] = line or "ended, not waited for"
    return found


def _read(path: Path) -> str:
    """Read a file of `/proc`, or return nothing when its process or thread has just gone."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
