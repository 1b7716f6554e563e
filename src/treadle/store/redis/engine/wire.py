"""A wire: one connection to a server, for a thread or an event loop, one call at a time.

A plain socket rather than a driver's connection, because it belongs to no event loop: whoever has
it lent may use it, from whichever thread, and it can be closed from anywhere. It never blocks:
who waits polls it, which takes half the system calls of a socket with a timeout. hiredis packs
what is sent and reads what comes. After any error in mid-call a wire is closed, never used again.
What it costs against redis-py's own connection is in docs/adr/0010.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from treadle.store.redis.engine.address import Place

Word = str | bytes | int

_READ_BYTES = 1 << 16
"""How much one read may bring. A read makes room for all of it first: from 128 KiB on the C library
asks the system for that and gives it back, page by page, which takes as long as all of a small call
does otherwise."""
_KEEPALIVE_S = 5
_KEEPALIVE_COUNT = 3


def pack(words: Sequence[Word]) -> bytes:
    """Write a command as the server reads it."""
    # hiredis takes any number of words; its types name a tuple of one.
    packed: bytes = hiredis.pack_command(cast("tuple[Word]", tuple(words)))
    return packed


class LostError(Exception):
    """A wire broke or never came to be; `sent` tells whether the server may have been reached."""

    def __init__(self, why: str, *, sent: bool) -> None:
        self.sent = sent
        self.late = False
        """Whether the time of the call is over, so that nobody tries again."""
        super().__init__(why)


class Tls:
    """The TLS layer of a wire: bytes in, bytes out; it reads and writes nothing itself."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer = context.wrap_bio(self._in, self._out, server_hostname=host)

    def shake(self, received: bytes) -> tuple[bool, bytes]:
        """Take what the server sent of the handshake; tell whether it is done, and what to send.

        Raises:
            ssl.SSLError: the server's certificate is not trusted, or it speaks no TLS.
        """
        self._in.write(received)
        try:
            self._layer.do_handshake()
        except ssl.SSLWantReadError:
            return False, self._out.read()
        return True, self._out.read()

    def seal(self, data: bytes) -> bytes:
        """Encrypt."""
        view = memoryview(data)
        while view:
            view = view[self._layer.write(view) :]
        return self._out.read()

    def unseal(self, received: bytes) -> bytes:
        """Decrypt what is whole; the rest waits for more.

        Raises:
            ConnectionResetError: the server has ended the connection, and nothing came before that.
            ssl.SSLError: what came is no TLS.
        """
        self._in.write(received)
        found = []
        try:
            while part := self._layer.read(_READ_BYTES):
                found.append(part)
        except ssl.SSLWantReadError:
            # Nothing more is whole; the rest of it comes with what is received next.
            return b"".join(found)
        except ssl.SSLZeroReturnError:
            if not found:
                raise ConnectionResetError("the server ended the TLS connection") from None
        return b"".join(found)


class Wire:
    """One connection."""

    def __init__(
        self,
        place: Place,
        context: ssl.SSLContext | None,
        deadline: float,
        patience: float = 10.0,
    ) -> None:
        """Connect, blocking at most until `deadline` (monotonic seconds).

        `patience` is how long the kernel waits until the server has taken what any call sends (s):
        that of the longest call, as each has a deadline of its own besides.

        Raises:
            LostError: nobody answers there, or not in time.
            ssl.SSLError: the certificate is not trusted.
        """
        self.place = place
        self.batch = 0
        """Which generation of its pool it belongs to."""
        self.loan: Any = None
        """What says that it is lent; its pool's own."""
        self._reader = hiredis.Reader()
        self._tls: Tls | None = None
        try:
            self._socket = socket.create_connection(place, timeout=_left(deadline))
        except OSError as error:
            raise LostError(f"{place[0]}:{place[1]}: {error}", sent=False) from error
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        try:
            self._prepare(patience)
            if context is not None:
                self._shake(context, deadline)
            self._socket.settimeout(0)
        except ssl.SSLError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise LostError(f"{place[0]}:{place[1]}: {error}", sent=False) from error

    def _prepare(self, patience: float) -> None:
        """Notice a peer that vanished: by the kernel's probes while a wire rests."""
        sock = self._socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", _KEEPALIVE_S),
            ("TCP_KEEPINTVL", _KEEPALIVE_S),
            ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", max(1, int(patience * 1000))),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _shake(self, context: ssl.SSLContext, deadline: float) -> None:
        tls, received, done = Tls(context, self.place[0]), b"", False
        while not done:
            self._socket.settimeout(_left(deadline))
            done, answer = tls.shake(received)
            if answer:
                self._socket.sendall(answer)
            if not done:
                received = self._received(self._socket.recv(_READ_BYTES))
        self._tls = tls

    # Calls

    def call_now(self, packed: bytes, deadline: float, replies: int = 1) -> Any:  # noqa: ANN401
        """Send commands and give the reply to the last of them, on the caller's thread.

        Raises:
            LostError: the connection broke, or no answer came in time; the wire is closed.
        """
        found: list[Any] = []
        try:
            self._send_now(self._sealed(packed), deadline)
            while True:
                _wait(self._readable, deadline)
                self._take_in()
                if self._gathered(found, replies):
                    return found[-1]
        except (OSError, hiredis.HiredisError) as error:
            raise self._broken(error) from error
        except BaseException:
            self.close()
            raise

    def _send_now(self, data: bytes, deadline: float) -> None:
        """Send all of it, waiting while the connection takes no more."""
        view, writable = memoryview(data), None
        while True:
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                if writable is None:
                    writable = select.poll()
                    writable.register(self._socket, select.POLLOUT)
                _wait(writable, deadline)
            else:
                if sent == len(view):
                    return
                view = view[sent:]

    async def call(self, packed: bytes, deadline: float, replies: int = 1) -> Any:  # noqa: ANN401
        """Do the same on the running event loop.

        Raises:
            LostError: as in `call_now`.
        """
        try:
            async with asyncio.timeout(_left(deadline)):
                return await self._talk(packed, replies)
        except (OSError, hiredis.HiredisError) as error:
            raise self._broken(error) from error
        except BaseException:
            self.close()
            raise

    async def _talk(self, packed: bytes, replies: int) -> Any:  # noqa: ANN401
        loop, sock, found = asyncio.get_running_loop(), self._socket, list[Any]()
        await loop.sock_sendall(sock, self._sealed(packed))
        while not self._gathered(found, replies):
            self.feed(await loop.sock_recv(sock, _READ_BYTES))
        return found[-1]

    def _gathered(self, found: list[Any], count: int) -> bool:
        """Add the replies that are whole; tell whether there are so many."""
        while len(found) < count and (reply := self._reader.gets()) is not False:
            found.append(reply)
        return len(found) == count

    def _sealed(self, packed: bytes) -> bytes:
        return packed if self._tls is None else self._tls.seal(packed)

    def _broken(self, error: Exception) -> LostError:
        self.close()
        why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
        return LostError(f"{self.place[0]}:{self.place[1]}: {why}", sent=True)

    # For the listener, which reads as it comes

    def fileno(self) -> int:
        """Give the descriptor to watch; -1 when closed."""
        return self._socket.fileno()

    def send_soon(self, packed: bytes) -> None:
        """Send a few bytes without waiting for their answer.

        Raises:
            OSError: the connection broke, or its buffer is full.
        """
        data = self._sealed(packed)
        if self._socket.send(data) < len(data):
            raise BlockingIOError("the connection takes no more")

    def arrived(self) -> list[Any]:
        """Read what has come, without waiting.

        Raises:
            OSError, hiredis.HiredisError: the connection broke.
        """
        self._take_in()
        found = []
        while (reply := self._reader.gets()) is not False:
            found.append(reply)
        return found

    def _take_in(self) -> None:
        """Read what has come; a socket that promised something may have nothing after all."""
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        self.feed(received)

    def feed(self, received: bytes) -> None:
        """Take bytes from the socket."""
        plain = self._received(received)
        self._reader.feed(plain if self._tls is None else self._tls.unseal(plain))

    @staticmethod
    def _received(data: bytes) -> bytes:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    # Life

    def is_stale(self) -> bool:
        """Tell whether a resting wire has met its end, or holds bytes that nobody asked for."""
        return bool(self._readable.poll(0))

    def close(self) -> None:
        """Close the socket without a word; a child may do so with its parent's."""
        self._socket.close()


def _wait(ready: select.poll, deadline: float) -> None:
    """Wait until a socket is ready.

    Raises:
        TimeoutError: it was not by the deadline.
    """
    if not ready.poll(_left(deadline) * 1_000):
        raise TimeoutError


def _left(deadline: float) -> float:
    """Give the seconds left, never nothing: a timeout of zero would mean not to wait at all."""
    return max(0.001, deadline - time.monotonic())
