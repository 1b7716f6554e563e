"""A wire: one connection to a server, for a thread or an event loop, one call at a time.

A plain socket rather than a driver's connection, because it belongs to no event loop: whoever has
it lent may use it, from whichever thread, and it can be closed from anywhere. hiredis packs what
is sent and reads what comes. After any error in mid-call a wire is closed, never used again.
What it costs against redis-py's own connection is in docs/adr/0010.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any

import hiredis

from treadle.store.redis.engine.address import Place

_READ_BYTES = 1 << 17
_KEEPALIVE_S = 5
_KEEPALIVE_COUNT = 3


class LostError(Exception):
    """A wire broke or never came to be; `sent` tells whether the server may have been reached."""

    def __init__(self, why: str, *, sent: bool) -> None:
        self.sent = sent
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
        """Decrypt what is whole; the rest waits for more."""
        self._in.write(received)
        found = []
        try:
            while part := self._layer.read(_READ_BYTES):
                found.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            if not found:
                raise ConnectionResetError("the server ended the TLS connection") from None
        return b"".join(found)


class Wire:
    """One connection."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, deadline: float) -> None:
        """Connect, blocking at most until `deadline` (monotonic seconds).

        Raises:
            LostError: nobody answers there, or not in time.
            ssl.SSLError: the certificate is not trusted.
        """
        self.place = place
        self.batch = 0
        """Which generation of its pool it belongs to."""
        self._reader = hiredis.Reader()
        self._tls: Tls | None = None
        try:
            self._socket = socket.create_connection(place, timeout=_left(deadline))
        except OSError as error:
            raise LostError(f"{place[0]}:{place[1]}: {error}", sent=False) from error
        try:
            self._prepare(deadline)
            if context is not None:
                self._shake(context, deadline)
        except ssl.SSLError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise LostError(f"{place[0]}:{place[1]}: {error}", sent=False) from error

    def _prepare(self, deadline: float) -> None:
        """Notice a peer that vanished: by the kernel's probes while a wire rests."""
        sock = self._socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", _KEEPALIVE_S),
            ("TCP_KEEPINTVL", _KEEPALIVE_S),
            ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", int(_left(deadline) * 1000)),
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
        sock, data = self._socket, packed if self._tls is None else self._tls.seal(packed)
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(data)
            while True:
                reply = self._reader.gets()
                if reply is not False:
                    replies -= 1
                    if not replies:
                        return reply
                    continue
                sock.settimeout(_left(deadline))
                self.feed(sock.recv(_READ_BYTES))
        except (OSError, hiredis.HiredisError) as error:
            self.close()
            raise LostError(f"{self.place[0]}:{self.place[1]}: {_why(error)}", sent=True) from error
        except BaseException:
            self.close()
            raise

    async def call(self, packed: bytes, deadline: float, replies: int = 1) -> Any:  # noqa: ANN401
        """Do the same on the running event loop.

        Raises:
            LostError: as in `call_now`.
        """
        sock, data = self._socket, packed if self._tls is None else self._tls.seal(packed)
        loop = asyncio.get_running_loop()
        try:
            sock.setblocking(False)
            async with asyncio.timeout(_left(deadline)):
                await loop.sock_sendall(sock, data)
                while True:
                    reply = self._reader.gets()
                    if reply is not False:
                        replies -= 1
                        if not replies:
                            return reply
                        continue
                    self.feed(await loop.sock_recv(sock, _READ_BYTES))
        except (OSError, hiredis.HiredisError) as error:
            self.close()
            raise LostError(f"{self.place[0]}:{self.place[1]}: {_why(error)}", sent=True) from error
        except BaseException:
            self.close()
            raise

    # For the listener, which reads as it comes

    def fileno(self) -> int:
        """Give the descriptor to watch; -1 when closed."""
        return self._socket.fileno()

    def send_soon(self, packed: bytes) -> None:
        """Send a few bytes without waiting for their answer.

        Raises:
            OSError: the connection broke, or its buffer is full.
        """
        self._socket.setblocking(False)
        data = packed if self._tls is None else self._tls.seal(packed)
        if self._socket.send(data) < len(data):
            raise BlockingIOError("the connection takes no more")

    def arrived(self) -> list[Any]:
        """Read what has come, without waiting.

        Raises:
            OSError, hiredis.HiredisError: the connection broke.
        """
        self._socket.setblocking(False)
        try:
            self.feed(self._socket.recv(_READ_BYTES))
        except BlockingIOError:
            return []
        found = []
        while (reply := self._reader.gets()) is not False:
            found.append(reply)
        return found

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
        """Tell whether a resting wire was closed by the server, or has bytes that nobody asked for."""
        try:
            self._socket.setblocking(False)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the socket without a word; a child may do so with its parent's."""
        self._socket.close()


def _left(deadline: float) -> float:
    """Give the seconds left, never nothing: a timeout of zero would mean not to wait at all."""
    return max(0.001, deadline - time.monotonic())


def _why(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
