"""Clients that write during failures and record the response to every request id."""

import random
import threading
from collections import Counter
from decimal import Decimal

from .client import new_id
from .process import PATIENCE_S, wait_until


class Load:
    """`threads` clients, each writing records of the given ids through the given Client objects until stopped.

    A client reads, then writes with the version that it read. A request whose outcome is unknown (504, a lost
    connection) is sent again with the same id, as the answer says; 200 and 422 then both mean that it was written.
    """

    def __init__(self, clients, ids, threads=6, seed=1, deletes=False):
        self.clients = clients
        self.ids = list(ids)
        self.deletes = deletes
        self.accepted = {}          # request id -> record id of requests that were answered 2xx
        self.statuses = Counter()
        self.errors = Counter()
        self.faults = Counter()     # answers with status 500, which no fault of a server may cause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n, random.Random(seed * 1000 + n)), daemon=True)
                         for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client of the load does not end"

    def wait_accepted(self, more, timeout=PATIENCE_S):
        """Waits until this many more writes have been accepted."""
        goal = len(self.accepted) + more
        wait_until(f"{more} more writes are accepted ({self.statuses}, {self.errors})", lambda: len(self.accepted) >= goal, timeout)

    def _run(self, number, chance):
        client = self.clients[number % len(self.clients)]
        while not self._stop.is_set():
            self._write(client, chance.choice(self.ids), chance)
            self._stop.wait(0.002)

    def _write(self, client, record_id, chance):
        try:
            read = client.read(record_id)
        except OSError as error:
            self._lost(error)
            return
        if read.status == 404:
            self._send(client, record_id, "POST", {"id": record_id, "price": Decimal(chance.randint(1, 10**6))})
        elif read.status == 200:
            version = read.json["version"]
            if self.deletes and chance.random() < 0.1:
                self._send(client, record_id, "DELETE", None, f"?version={version}")
            else:
                price = Decimal(chance.randint(1, 10**8)).scaleb(-2)
                self._send(client, record_id, "PUT", {"price": price, "version": version})
        else:
            self._count(read)
            self._stop.wait(0.05)

    def _send(self, client, record_id, method, body, query=""):
        path = client.path(None if method == "POST" else record_id) + query
        self._insist(client, method, path, body, new_id(), record_id)

    def _insist(self, client, method, path, body, request_id, record_id):
        for _ in range(40):
            try:
                answer = client.request(method, path, body=body, request_id=request_id)
            except OSError as error:
                self._lost(error)
                self._stop.wait(0.1)
                continue
            self._count(answer)
            self._note(answer, request_id, record_id)
            if answer.status not in (502, 503, 504) and not (answer.status == 409 and "retry-after" in answer.headers):
                return
            self._stop.wait(0.1)

    def _note(self, answer, request_id, record_id):
        if answer.status in (200, 201, 204) or (answer.status == 422 and answer.json["title"] == "Duplicate request"):
            with self._lock:
                self.accepted[request_id] = record_id

    def _count(self, answer):
        with self._lock:
            self.statuses[answer.status] += 1
            if answer.status == 500:
                self.faults[answer.body] += 1

    def _lost(self, error):
        with self._lock:
            self.errors[type(error).__name__] += 1
        self._stop.wait(0.05)
