"""Signals of the operating system: the first stops gracefully, the second at once."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("treadle.worker")
_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(
    stop: Callable[[str], None], stop_at_once: Callable[[], None]
) -> Iterator[None]:
    """Call `stop` on the first SIGTERM, SIGINT or SIGHUP and `stop_at_once` on the second.

    SIGHUP, sent when a terminal closes, is left alone where the program or `nohup` has said what
    it does. Off the main thread nothing is changed: signals are the main program's there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    seen = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            stop(f"received {number.name}; a second signal stops at once")
        else:
            _log.warning("received %s again: stopping at once", number.name)
            stop_at_once()

    numbers = [*_STOPPING]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
