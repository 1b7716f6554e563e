"""Job ids: UUIDs of version 7 (RFC 9562, section 5.7), 16 bytes inside, text outside.

Within one process ids rise strictly: the 12 bits after the version count up inside a
millisecond (RFC 9562, section 6.2, method 1), so jobs enqueued in order sort in order.
"""

from __future__ import annotations

import os
import random
import threading
import time

from treadle.core.threads.interrupted import check_free

_random = random.SystemRandom()
_COUNTER_MAX = 0xFFF
# The lowest three quarters of the counter's range are left free at each new millisecond.
_COUNTER_START_BITS = 10


class _Source:
    """The process's generator; a fork gets fresh randomness, never a copy of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.reseed()

    def reseed(self) -> None:
        self.lock = threading.RLock()
        # An id must be unique, not secret; it is seeded from the system's randomness.
        self.bits = random.Random(_random.getrandbits(256)).getrandbits  # noqa: S311
        self.last_ms = 0
        self.counter = 0

    def take(self) -> bytes:
        check_free(self.lock)
        with self.lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self.last_ms:
                self.last_ms = now_ms
                self.counter = self.bits(_COUNTER_START_BITS)
            elif self.counter < _COUNTER_MAX:
                self.counter += 1
            else:
                # The counter is full: borrow from the next millisecond rather than wait.
                self.last_ms += 1
                self.counter = self.bits(_COUNTER_START_BITS)
            number = (
                (self.last_ms << 80) | (7 << 76) | (self.counter << 64) | (2 << 62) | self.bits(62)
            )
        return number.to_bytes(16, "big")


_source = _Source()
os.register_at_fork(after_in_child=_source.reseed)


def new_id() -> bytes:
    """Make a new id: unique everywhere, and above every id this process made before.

    Raises:
        StoreUnavailable: a signal handler asks in the midst of the making of another one.
    """
    return _source.take()


def id_text(raw: bytes) -> str:
    """Write an id in the usual 8-4-4-4-12 form."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def id_bytes(text: str) -> bytes:
    """Read an id from text, with or without dashes.

    Raises:
        ValueError: the text is not the form of a UUID.
    """
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except (ValueError, AttributeError):
        raw = b""
    if len(raw) != 16:  # noqa: PLR2004 -- a UUID is 16 bytes
        msg = f"{text!r} is not a job id; one looks like 0190a2c4-7f3e-7a10-8f2b-5d0c9e4b1a77"
        raise ValueError(msg)
    return raw
