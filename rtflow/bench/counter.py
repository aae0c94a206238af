"""What goes over a connection, counted: a proxy of TCP on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading


class Counter:
    """Passes bytes on to another port, and counts them both ways; a context manager.

    Parameters
    ----------
    leads_to
        Port of this machine.

    Attributes
    ----------
    port
        Where to connect instead.
    bytes
        So many went through, in both directions.
    """

    def __init__(self, leads_to: int) -> None:
        self._leads_to = leads_to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Counter:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._leads_to))
            except OSError:  # the agent tries again for as long as nobody answers
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    self.bytes += len(data)
                sink.sendall(data)
        for end in (source, sink):  # the other direction ends with this one
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
