"""A TCP proxy between the daemon and its database that can lose things the way networks do: after they were sent, before they are answered."""

import contextlib
import select
import socket
import threading
import time

from .process import free_port


class Proxy:
    """Forwards to a port of this machine. Threads: one that accepts, one a connection; all end with stop()."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self._refuse = False
        self._pairs = {}          # client socket -> "pass", "lose": what becomes of its answers
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self, refuse_new=False):
        """From now on what the open connections ask is done by the server, but its answer never arrives and the connection ends.
        New ones work, or are refused."""
        with self._lock:
            self._refuse = refuse_new
            for client in self._pairs:
                self._pairs[client] = "lose"

    def heal(self):
        with self._lock:
            self._refuse = False

    def stop(self):
        self._stopping = True
        self._listener.close()
        with self._lock:
            for client in self._pairs:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuse:
                client.close()
                continue
            with self._lock:
                self._pairs[client] = "pass"
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target_port)) as server:
            lost_at = None  # when the request was forwarded whose answer is being lost
            while True:
                readable, _, _ = select.select([client, server], [], [], 0.05)
                if lost_at and time.monotonic() - lost_at > 0.5:
                    break
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return self._forget(client)
                    if end is client:
                        if self._pairs[client] == "lose":
                            lost_at = lost_at or time.monotonic()
                        server.sendall(data)
                    elif not lost_at:
                        client.sendall(data)
        return self._forget(client)

    def _forget(self, client):
        with self._lock:
            self._pairs.pop(client, None)
