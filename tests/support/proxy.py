"""A TCP proxy that loses data as networks do: before a request arrives, or after it was executed but before its response.

It is placed between a daemon and its database, or between NGINX and a daemon.
"""

import contextlib
import select
import socket
import threading
import time

from .process import free_port

# What happens to a connection.
PASS = "pass"        # it is forwarded
CUT = "cut"          # accepted, and closed at once
SWALLOW = "swallow"  # what is sent is read but not forwarded; then closed
HANG = "hang"        # what is sent is read but not forwarded, and nothing happens
LOSE = "lose"        # what is sent is forwarded and executed; its answer is lost, and the connection is closed


class Proxy:
    """Forwards to a local port. Threads: one that accepts, one per connection; all end with stop()."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self.mode = PASS      # of new connections
        self._modes = {}      # client socket -> its mode
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self, refuse_new=False):
        """From now on requests on open connections are executed, but their answers are lost and the connections are closed.
        New connections work, or are cut."""
        with self._lock:
            self.mode = CUT if refuse_new else PASS
            for client in self._modes:
                self._modes[client] = LOSE

    def heal(self):
        self.mode = PASS

    def stop(self):
        self._stopping = True
        # A shutdown, not only a close, wakes the thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for client in self._modes:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == CUT:
                client.close()
                continue
            with self._lock:
                self._modes[client] = self.mode
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with contextlib.suppress(OSError), client:
                if self._modes[client] in (SWALLOW, HANG):
                    self._swallow(client)
                else:
                    self._forward(client)
        finally:
            with self._lock:
                self._modes.pop(client, None)

    def _swallow(self, client):
        client.recv(65536)
        while self._modes[client] == HANG and client.recv(65536):
            pass

    def _forward(self, client):
        lost_at = None  # when something was forwarded whose answer is being lost
        with socket.create_connection(("127.0.0.1", self.target_port)) as server:
            while not lost_at or time.monotonic() - lost_at < 0.5:
                readable, _, _ = select.select([client, server], [], [], 0.05)
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is client:
                        if self._modes[client] == LOSE:
                            lost_at = lost_at or time.monotonic()
                        server.sendall(data)
                    elif not lost_at:
                        client.sendall(data)
