"""HTTP as a client of the application sees it: request ids, exact numbers, every header; no retries, no redirects."""

import http.client
import json
import socket
import urllib.parse
import uuid
from decimal import Decimal


class Answer:
    """Status, headers (names in lower case), the body as bytes and, where it is JSON, as `json` with decimals exact."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body, parse_float=Decimal)

    @property
    def etag(self):
        return self.headers.get("etag")

    @property
    def region(self):
        """Who really answered."""
        return self.headers.get("x-plist-region")

    def __repr__(self):
        return f"<{self.status} {self.headers.get('content-type')} {self.body[:400]!r}>"


def new_id():
    return str(uuid.uuid4())


class Client:
    """One base address. `region` is the prefix that the short forms use; each thread makes connections of its own."""

    def __init__(self, base, region=None, timeout=15.0):
        self.base = base.rstrip("/")
        self.region = region
        self.timeout = timeout
        parts = urllib.parse.urlsplit(self.base)
        self.host, self.port = parts.hostname, parts.port or 80

    def request(self, method, path, body=None, request_id=None, headers=None, raw_body=None):
        """`body` is sent as JSON; `raw_body` as it is. `request_id` None sends no header."""
        sent = dict(headers or {})
        data = raw_body
        if body is not None:
            data = dump(body).encode()
            sent.setdefault("Content-Type", "application/json")
        if request_id is not None:
            sent["X-Request-ID"] = request_id
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def raw(self, data, timeout=10.0):
        """Bytes as they are on a connection of their own; everything that comes back until it is closed or silent."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as s:
            s.sendall(data)
            received = b""
            try:
                while chunk := s.recv(65536):
                    received += chunk
            except socket.timeout:
                pass
            return received

    # The application's requests, under this client's region prefix.

    def path(self, record_id=None):
        return f"/{self.region}/properties" + ("" if record_id is None else f"/{record_id}")

    def read(self, record_id, **headers):
        return self.get(self.path(record_id), **headers)

    def put(self, record_id, request_id=None, if_match=None, **fields):
        """PUT with a fresh request id unless one is given."""
        headers = {"If-Match": if_match} if if_match else {}
        return self.request("PUT", self.path(record_id), body=fields, request_id=request_id or new_id(), headers=headers)

    def post(self, request_id=None, **fields):
        return self.request("POST", self.path(), body=fields, request_id=request_id or new_id())

    def delete(self, record_id, version=None, request_id=None, if_match=None):
        headers = {"If-Match": if_match} if if_match else {}
        query = "" if version is None else f"?version={version}"
        return self.request("DELETE", self.path(record_id) + query, request_id=request_id or new_id(), headers=headers)


def dump(value):
    """JSON with decimals written as they are."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(dump(v) for v in value) + "]"
    return json.dumps(value)
