"""A cable between two hosts that can be pulled, or cut: a proxy of TCP."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cable:
    """Passes bytes on from a port of its own to another one; a context manager.

    Parameters
    ----------
    port
        Of this machine, where it leads to.

    Attributes
    ----------
    port
        Where to connect instead.
    held
        Set once something waits that is held back.
    """

    def __init__(self, port: int) -> None:
        self._leads_to = port
        self._plugged = threading.Event()
        self._plugged.set()
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self.held = threading.Event()
        self._holds = b""
        self._released = threading.Event()

    def __enter__(self) -> Cable:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._plugged.set()
        self.release()
        self.cut()

    def pull(self) -> None:
        """Nothing gets through, and nobody is told: what is sent waits."""
        self._plugged.clear()

    def plug(self) -> None:
        """What waits gets through, and all else again."""
        self._plugged.set()

    def hold(self, words: bytes) -> None:
        """What these words stand in waits, with all behind it on its connection; nothing else does."""
        self.held.clear()
        self._released.clear()
        self._holds = words

    def release(self) -> None:
        """Let through what was held back, and hold back nothing more."""
        self._holds = b""
        self._released.set()

    def cut(self) -> None:
        """End all connections at once; new ones may be made."""
        while self._ends:
            end = self._ends.pop()
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listening.accept()
                self._plugged.wait()
                try:
                    far = socket.create_connection(("127.0.0.1", self._leads_to))
                except OSError:  # nobody listens there now
                    near.close()
                    continue
                self.connections += 1
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._plugged.wait()
                if self._holds and self._holds in data:
                    self.held.set()
                    self._released.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
