"""Servers that are there and do not serve: what a wait in the wild meets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Silent:
    """Accepts, and answers nothing, or the same to everybody; or, with a target, passes everything
    on until `hush`.
    """

    listener: socket.socket
    target: int | None
    answer: bytes
    connections: list[socket.socket] = field(default_factory=list)
    hushed: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def hush(self) -> None:
        """From now on nothing is passed on any more."""
        self.hushed.set()

    def serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                self.connections.append(client)
                if self.answer:
                    client.sendall(self.answer)
                if self.target and not self.hushed.is_set():
                    server = socket.create_connection(("127.0.0.1", self.target))
                    self.connections.append(server)
                    for one, other in ((client, server), (server, client)):
                        threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self.hushed.is_set():
                target.sendall(data)


@contextmanager
def silent_server(target: int | None = None, answer: bytes = b"") -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Silent(listener, target, answer)
        serving = threading.Thread(target=made.serve, daemon=True)
        serving.start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)  # who is just being accepted is closed, too
        serving.join()
    for one in made.connections:
        one.close()
