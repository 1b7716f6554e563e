"""Systems: every variant of every peer, as it described itself, and its fresh directories.

The runner never imports a peer's file: it asks a process in the peer's environment. A `Site`
is one repetition's own empty store and directory of marks and logs; two repetitions share nothing
but the engine's server.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.engines.base import Server
from bench.harness.environments import ROOT, environment, interpreter, is_ours
from bench.harness.processes import Running, run_json, started

_ACTION_LIMIT_S = 240.0


class VariantFacts(msgspec.Struct, frozen=True):
    """What a variant said of itself; rates are in jobs a second and only size the runs."""

    name: str
    settings: str
    worker: tuple[str, ...]
    single_rate: int
    bulk_rate: int
    drain_rate: int
    bulk: bool


class PeerFacts(msgspec.Struct, frozen=True):
    """What a peer said of itself."""

    peer: str
    guarantees: str
    versions: dict[str, str]
    variants: tuple[VariantFacts, ...]


class System(msgspec.Struct, frozen=True):
    """One variant of one peer, with the interpreter that runs it."""

    module: str
    python: Path
    peer: PeerFacts
    variant: VariantFacts

    @property
    def name(self) -> str:
        """The variant's name, unique among all systems."""
        return self.variant.name

    @property
    def ours(self) -> bool:
        """Whether this is treadle."""
        return is_ours(self.module)


class Site:
    """One repetition's own: an empty store, and a directory for the marks and the logs."""

    def __init__(self, system: System, directory: Path, store: str) -> None:
        """Place the marks of `system` in `directory`; its store is at the URL `store`."""
        self.system = system
        self.directory = directory
        self.store = store
        self.marks = directory / "marks"
        self._programs = 0

    def drive(self, action: str, **options: int) -> dict[str, object]:
        """Run one action of `bench.drive` in the peer's environment and return its answer.

        Raises:
            BenchError: it failed or took longer than four minutes.
        """
        words = [f"--{name}={value}" for name, value in options.items()]
        variant = f"--variant={self.system.name}"
        return self.program("bench.drive", self.system.module, action, variant, *words)

    def program(self, module: str, *words: str) -> dict[str, object]:
        """Run a module of ours to its end in the peer's environment; return its JSON answer.

        Raises:
            BenchError: it failed or took longer than four minutes.
        """
        return run_json(
            [str(self.system.python), "-m", module, *words],
            env=environment(self.store, self.marks),
            cwd=ROOT,
            log=self._log(),
            timeout_s=_ACTION_LIMIT_S,
        )

    @contextmanager
    def worker(self, extra: Sequence[str] = ()) -> Iterator[Running]:
        """Run one worker process of this system while the block lasts.

        `extra` follows the variant's own words, where a command line takes the last one given.
        """
        command = [str(self.system.python), *self.system.variant.worker, *extra]
        env = environment(self.store, self.marks)
        with started(command, env=env, cwd=ROOT, log=self._log()) as running:
            yield running

    def _log(self) -> Path:
        self._programs += 1
        return self.directory / f"program-{self._programs}.log"


@contextmanager
def site(system: System, server: Server, parent: Path) -> Iterator[Site]:
    """Make an empty, prepared store and a directory under `parent`; remove both at the end.

    Raises:
        BenchError: the peer could not prepare its store.
    """
    directory = Path(tempfile.mkdtemp(prefix="site-", dir=parent))
    try:
        with server.fresh(directory) as store:
            made = Site(system, directory, store)
            made.drive("prepare")
            yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def peer_modules(engine: str) -> list[str]:
    """Return the names of the peer files of an engine, treadle's first."""
    names = sorted(path.stem for path in (ROOT / "bench" / "peers").glob(f"*_{engine}.py"))
    return sorted(names, key=lambda name: not is_ours(name))


def ask(module: str, server: Server, scratch: Path) -> list[System]:
    """Let a peer describe itself and return its variants as systems.

    Raises:
        BenchError: the file cannot be imported in its environment.
    """
    python = interpreter(module)
    with server.fresh(scratch) as store:
        answer = run_json(
            [str(python), "-m", "bench.drive", module, "describe"],
            env=environment(store, scratch / f"{module}.marks"),
            cwd=ROOT,
            log=scratch / f"{module}.log",
            timeout_s=_ACTION_LIMIT_S,
        )
    peer = msgspec.convert(answer, PeerFacts)
    return [System(module, python, peer, variant) for variant in peer.variants]
