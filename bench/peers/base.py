"""What one file in this folder offers: a peer, and its variants.

A peer is a job system on one engine with one set of guarantees; a variant is one way to run it
(default settings, fastest settings, another kind of task). The file is named after both,
`huey_redis.py`, which is how the runner knows whom to ask on which engine; files without an
engine's name hold what two of them share. The file is imported only inside the peer's own
environment, so it may import its library at the top. It reads where its store is from
`store_url()` and its jobs leave their marks through `bench.harness.marks`.

To add a peer, write one file that ends in `PEER = Peer(...)` and pin its library in
`requirements/bench.in`, or in `requirements/bench-<peer>.in` where its versions do not go with
the others'. Nothing else changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

STORE_VARIABLE = "TREADLE_BENCH_STORE"
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Rates:
    """Roughly how many jobs a second to expect, only to size a run to a few seconds."""

    single: int
    bulk: int
    drain: int


@dataclass(frozen=True)
class Variant:
    """One way to run a peer: how to hand it jobs and how to start one worker process.

    `enqueue_one` takes the number that the job will leave in its mark and returns when the job
    is stored. `enqueue_bulk` takes many such numbers and is None where the library has no
    public way to store many jobs at once. `worker` is the command after the interpreter; it
    holds no URL, because a store is made after the peer has described itself.
    `prepare` is called once on an empty store before anything else: it makes tables and
    queues, so that two workers do not race for them.
    `session` is for libraries that are asynchronous: both calls are coroutines then, awaited
    one after another inside it, so it opens and closes what they need.
    """

    name: str
    settings: str
    worker: tuple[str, ...]
    rates: Rates
    enqueue_one: Callable[[int], object]
    enqueue_bulk: Callable[[Sequence[int]], object] | None = None
    prepare: Callable[[], object] | None = None
    session: Callable[[], AbstractAsyncContextManager[object]] | None = None


@dataclass(frozen=True)
class Peer:
    """A job system on one engine: its promises, its libraries and its variants."""

    name: str
    guarantees: str
    distributions: tuple[str, ...]
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`.

        Raises:
            LookupError: this peer has no such variant; the error lists those it has.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise LookupError(f"peer {self.name} has no variant {name!r}; it has: {known}")


def store_url() -> str:
    """Return the URL of this run's store, as the runner said in the environment.

    Raises:
        LookupError: the process was not started by the benchmark runner.
    """
    url = os.environ.get(STORE_VARIABLE)
    if url is None:
        raise LookupError(f"{STORE_VARIABLE} is not set: peers are started by `make bench`")
    return url


def store_file(url: str) -> Path:
    """Return the file that a URL of SQLite names.

    Raises:
        ValueError: it is the URL of another engine.
    """
    if not url.startswith(_SQLITE):
        raise ValueError(f"{url} names no file: this measure or peer runs on SQLite only")
    return Path(url.removeprefix(_SQLITE))
