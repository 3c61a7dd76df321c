"""A TCP proxy that cuts connections in the middle, as networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class CuttingProxy:
    """Passes bytes on to a server; `cut` ends all connections at once, `cut_after` later.

    Args:
        port: where the server listens.
        latency: seconds that bytes are on their way, each way.
    """

    def __init__(self, port: int, latency: float = 0) -> None:
        self._target = port
        self._latency = latency
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._budget: int | None = None
        self.cuts = 0
        self.bytes = 0
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def uri(self) -> str:
        return f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut_after(self, bytes: int) -> None:
        """Cut all connections once so many more bytes have passed."""
        with self._lock:
            self._budget = bytes

    def cut(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
            self.cuts += 1
        for s in sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._sockets |= {near, far}
                for a, b in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass_on, args=(a, b), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                with self._lock:
                    self.bytes += len(data)
                    over = False
                    if self._budget is not None:
                        self._budget -= len(data)
                        over = self._budget <= 0
                        if over:
                            self._budget = None
                time.sleep(self._latency)
                if over:
                    # Half of it arrives: a cut falls into the middle of a message.
                    sink.sendall(data[: len(data) // 2])
                    self.cut()
                    break
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            source.close()
