"""Clocks of processes' own: libfaketime in front of the system's, the monotonic clock untouched.

The library is the one inside the package libfaketime, or the distribution's.
"""

import functools
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_PLACES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)
_HOUR_S: Final = 3_600


@functools.cache
def library() -> str | None:
    """Find a library that really moves a process's clock; None where there is none."""
    found = importlib.util.find_spec("libfaketime")
    places = [Path(place) for place in _PLACES]
    if found is not None and found.origin is not None:
        places.insert(0, Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1")
    return next((str(place) for place in places if place.exists() and _works(str(place))), None)


def fixed(seconds: float) -> dict[str, str]:
    """Give the environment of a process whose clock is off by so much."""
    return _environ() | {"FAKETIME": _offset(seconds)}


def steered(file: Path) -> dict[str, str]:
    """Give the environment of a process whose clock is off by what `step` writes to the file."""
    return _environ() | {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1"}


def step(file: Path, seconds: float) -> None:
    """Set how far off the clocks are that this file steers; they follow within a second."""
    beside = file.with_suffix(".new")
    beside.write_text(_offset(seconds) + "\n", encoding="ascii")
    beside.replace(file)


def tidy(pids: list[int]) -> None:
    """Remove what the library leaves in shared memory when its process is killed."""
    for pid in pids:
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            Path("/dev/shm", name).unlink(missing_ok=True)  # noqa: S108 -- the library's own place


def _environ() -> dict[str, str]:
    found = library()
    assert found is not None, "ask `library` first"
    return {"LD_PRELOAD": found, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def _offset(seconds: float) -> str:
    return f"{seconds:+.3f}"


def _works(place: str) -> bool:
    environ = os.environ | {
        "LD_PRELOAD": place,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME": _offset(_HOUR_S),
    }
    program = "import time; print(time.time(), time.monotonic())"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=60, env=environ
    )
    try:
        wall, monotonic = map(float, done.stdout.split())
    except ValueError:
        return False
    return abs(wall - time.time() - _HOUR_S) < 60 and abs(monotonic - time.monotonic()) < 60
