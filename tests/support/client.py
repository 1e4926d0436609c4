"""An HTTP client of the application: request ids, exact numbers, all headers; no retries, no redirects."""

import http.client
import json
import os
import socket
import ssl
import urllib.parse
import uuid
from decimal import Decimal


class Answer:
    """Status, headers (names in lower case), the body as bytes and, if it is JSON, as `json` with exact decimals."""

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
        """The region that answered."""
        return self.headers.get("x-plist-region")

    def __repr__(self):
        return f"<{self.status} {self.headers.get('content-type')} {self.body[:400]!r}>"


def new_id():
    return str(uuid.uuid4())


class Client:
    """A client of one address. The short forms use the prefix `region`. Each thread has its own connections."""

    def __init__(self, base, region=None, timeout=15.0, context=None):
        """`context`: an ssl.SSLContext, for https addresses."""
        self.base = base.rstrip("/")
        self.region = region
        self.timeout = timeout
        parts = urllib.parse.urlsplit(self.base)
        self.host, self.port = parts.hostname, parts.port or 80
        self.context = context
        if parts.scheme == "https" and not context:  # as curl does, for which ./run env sets the variable
            self.context = ssl.create_default_context(cafile=os.environ.get("CURL_CA_BUNDLE"))

    def request(self, method, path, body=None, request_id=None, headers=None, raw_body=None):
        """`body` is sent as JSON, `raw_body` unchanged. Without `request_id` no header is sent."""
        sent = dict(headers or {})
        data = raw_body
        if body is not None:
            data = dump(body).encode()
            sent.setdefault("Content-Type", "application/json")
        if request_id is not None:
            sent["X-Request-ID"] = request_id
        connection = self.connect()
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def connect(self):
        """A connection that the caller uses and closes."""
        if self.context:
            return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=self.context)
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def raw(self, data, timeout=10.0):
        """Sends bytes on a new connection; returns everything that arrives until it is closed or silent."""
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
        """PUT with a new request id unless one is given."""
        headers = {"If-Match": if_match} if if_match else {}
        return self.request("PUT", self.path(record_id), body=fields, request_id=request_id or new_id(), headers=headers)

    def post(self, request_id=None, **fields):
        return self.request("POST", self.path(), body=fields, request_id=request_id or new_id())

    def delete(self, record_id, version=None, request_id=None, if_match=None):
        headers = {"If-Match": if_match} if if_match else {}
        query = "" if version is None else f"?version={version}"
        return self.request("DELETE", self.path(record_id) + query, request_id=request_id or new_id(), headers=headers)


def dump(value):
    """JSON with exact decimals."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(dump(v) for v in value) + "]"
    return json.dumps(value)
