"""A network that fails: a TCP proxy on loopback that cuts, delays, halves and swallows.

It stands between a client and a real server and runs on a thread of its own. What it does
is set while it runs and holds for connections that are open and for new ones:

    with Proxy(server.port) as proxy:
        ...                     # everything passes
        proxy.lose_answers()    # requests arrive, answers do not: is it written or not?
        proxy.swallow()         # nothing arrives and nothing ends: a half-open connection
        proxy.delay(0.5)        # each piece of data waits this many seconds, each way
        proxy.cut_after(100)    # connections are reset after so many more bytes of requests
        proxy.reset()           # those that are open are reset now; new ones pass
        proxy.refuse()          # and new ones are refused
        proxy.heal()            # everything passes again
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Literal, Self

from msgspec import Struct

from treadle.client.background import start_thread
from treadle.testing.servers import held_port

_PIECE: Final = 65_536
_CALL_S: Final = 30.0
_LOOPBACK: Final = "127.0.0.1"
# SO_LINGER switched on with no time: closing sends a reset (socket(7)).
_AT_ONCE: Final = struct.pack("ii", 1, 0)

Way = Literal["request", "answer"]


class _Weather(Struct, frozen=True):
    """What happens to data now."""

    requests_lost: bool = False
    answers_lost: bool = False
    delay_s: float = 0.0


class Proxy:
    """A proxy to one port of this machine."""

    def __init__(self, to_port: int, host: str = _LOOPBACK) -> None:
        """Take where the server listens; nothing is opened before `start`."""
        self._to = (host, to_port)
        self._weather = _Weather()
        self._left: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where clients connect to."""
        self.accepted = 0
        """How many connections were made so far."""

    def start(self) -> Self:
        """Listen on a free port, which is its own until it stops, also while it refuses."""
        self._holder = held_port()
        if self._holder is not None:
            self.port = int(self._holder.getsockname()[1])
        loop = self._loop = asyncio.new_event_loop()
        self._thread = start_thread(loop.run_forever, "treadle-proxy")
        self._do(self._listen())
        return self

    def stop(self) -> None:
        """Reset every connection and end the thread."""
        if self._loop is None or self._thread is None:
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        if self._holder is not None:
            self._holder.close()
        self._loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    # The weather

    def heal(self) -> None:
        """Let everything pass, and new connections in."""
        self._weather, self._left = _Weather(), None
        self._do(self._listen())

    def lose_answers(self) -> None:
        """Pass requests on and swallow what the server answers."""
        self._weather = _Weather(answers_lost=True)

    def swallow(self) -> None:
        """Swallow everything and end nothing, as when a cable is pulled."""
        self._weather = _Weather(requests_lost=True, answers_lost=True)

    def delay(self, seconds: float) -> None:
        """Hold each piece of data back for so long."""
        self._weather = _Weather(delay_s=seconds)

    def cut_after(self, request_bytes: int) -> None:
        """Reset all connections after so many more bytes of requests in all."""
        self._left = request_bytes

    def reset(self) -> None:
        """Reset all open connections."""
        self._do(self._reset())

    def refuse(self) -> None:
        """Reset all open connections and refuse new ones until `heal`."""
        self._do(self._refuse())

    # On the proxy's own loop

    def _do(self, what: object) -> None:
        assert self._loop is not None, "the proxy has been started"
        asyncio.run_coroutine_threadsafe(what, self._loop).result(_CALL_S)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._talk, _LOOPBACK, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        for writer in list(self._open):
            _abort(writer)

    async def _end(self) -> None:
        await self._refuse()
        for task in list(self._talks):
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs each connection in a task"
        self._talks.add(task)
        self.accepted += 1
        pair = [writer]
        try:
            from_server, to_server = await asyncio.open_connection(*self._to)
            pair.append(to_server)
            self._open.update(pair)
            await asyncio.gather(
                self._pump(reader, to_server, "request"),
                self._pump(from_server, writer, "answer"),
            )
        except (OSError, asyncio.CancelledError):
            # The server is away, a connection was reset or the proxy stops: the client is told
            # by a reset. asyncio would report a cancelled connection as an error (3.11).
            return
        finally:
            for end in pair:
                self._open.discard(end)
                _abort(end)
            self._talks.discard(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way
    ) -> None:
        while piece := await source.read(_PIECE):
            weather = self._weather
            if weather.delay_s:
                await asyncio.sleep(weather.delay_s)
            lost = weather.requests_lost if way == "request" else weather.answers_lost
            if lost:
                continue
            if way == "request" and self._left is not None:
                piece, cut = piece[: self._left], len(piece) >= self._left
                self._left -= len(piece)
                if cut:
                    sink.write(piece)
                    await sink.drain()
                    await self._reset()
                    return
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
