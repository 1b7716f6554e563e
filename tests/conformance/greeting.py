"""Small servers that only greet: what a store says to one that it cannot use."""

import socket
import threading
from typing import Self


class Greeting:
    """A server on loopback that meets one connection after another, on a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                self.greet(peer)

    def greet(self, peer: socket.socket) -> None:
        """Say what there is to say; here nothing."""
