"""The failing network of the test kit: each kind of weather, felt by a real connection."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from treadle.testing.proxy import Proxy

PATIENCE_S = 20.0
SILENCE_S = 0.3
DELAY_S = 0.15


class Echo(socketserver.BaseRequestHandler):
    """Answers with what it was sent, and remembers that."""

    heard = b""

    def handle(self) -> None:
        """Serve one connection until it ends."""
        with contextlib.suppress(ConnectionError):
            while piece := self.request.recv(1024):
                Echo.heard += piece
                self.request.sendall(piece)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Give a proxy before an echo server."""
    Echo.heard = b""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with Proxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def connect(proxy: Proxy) -> socket.socket:
    """Connect through the proxy and say hello."""
    client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)
    assert ask(client, b"hello") == b"hello"
    return client


def ask(client: socket.socket, words: bytes, patience: float = PATIENCE_S) -> bytes:
    """Send words and wait for an answer."""
    client.settimeout(patience)
    client.sendall(words)
    return client.recv(1024)


def ask_twice(client: socket.socket, words: bytes) -> None:
    """Ask until a reset shows: it may come with the answer or with the next request."""
    for _ in range(2):
        ask(client, words)


def test_what_is_lost_between_write_and_answer_was_heard(proxy: Proxy) -> None:
    """The server gets the request, the client never the answer; then all passes again."""
    with connect(proxy) as client:
        proxy.lose_answers()
        with pytest.raises(TimeoutError):
            ask(client, b"write", SILENCE_S)
        assert Echo.heard.endswith(b"write")
        proxy.heal()
        assert ask(client, b"again") == b"again"


def test_a_pulled_cable_ends_nothing(proxy: Proxy) -> None:
    """Neither side hears anything, not even an end."""
    with connect(proxy) as client:
        proxy.swallow()
        with pytest.raises(TimeoutError):
            ask(client, b"lost", SILENCE_S)
        assert b"lost" not in Echo.heard


def test_a_delay_holds_both_ways(proxy: Proxy) -> None:
    """A round trip takes the delay twice."""
    with connect(proxy) as client:
        proxy.delay(DELAY_S)
        begun = time.monotonic()
        assert ask(client, b"slow") == b"slow"
        assert time.monotonic() - begun >= 2 * DELAY_S


def test_a_connection_is_cut_in_the_middle_of_a_request(proxy: Proxy) -> None:
    """The first bytes arrive, the rest does not, and the client is reset."""
    with connect(proxy) as client:
        proxy.cut_after(3)
        with pytest.raises(ConnectionError):
            ask_twice(client, b"abcdef")
        assert b"d" not in Echo.heard
    proxy.heal()
    connect(proxy).close()


def test_refused_until_it_heals(proxy: Proxy) -> None:
    """Open connections are reset and new ones refused; later the same port serves again."""
    with connect(proxy) as client:
        proxy.refuse()
        with pytest.raises(ConnectionError):
            ask_twice(client, b"gone")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)
    proxy.heal()
    connect(proxy).close()
    assert proxy.accepted >= 2
