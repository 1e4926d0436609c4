"""A short round of the campaign hostile-load: all attacks at once, and good clients that must not notice them."""

import socket

import pytest
import yaml

from support import hostile_load
from support.hostile import get
from support.plistd import Plistd
from support.process import free_port, wait_until

SECONDS = 7


@pytest.fixture
def attacked(stack, tmp_path):
    """An additional daemon of us with the hostile handlers."""
    port = free_port()
    config = stack.dictionary()
    hostile_load.copy_scripts(tmp_path / "lua")
    hostile_load.add_routes(config, tmp_path / "lua")
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(tmp_path / "us.sock")}
    config["http"] = dict(config.get("http") or {}, workers=2, receive_timeout="3s")
    path = tmp_path / "plist.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    daemon = Plistd(tmp_path, "us", port, path, name="plistd-attacked")
    try:
        yield daemon.start().wait_ready()
    finally:
        daemon.stop()


def test_good_requests_are_answered_while_everything_hostile_happens(stack, attacked):
    records = [stack.new_record("us", price="1", everywhere=False) for _ in range(4)]
    found = hostile_load.attack(attacked, records, SECONDS, slow=400, burners=8)
    hostile_load.report(found)
    assert hostile_load.faults(found) == []
    assert attacked.metrics()["plist_lua_interrupted_total"] > 0


def test_clients_that_do_not_take_their_large_answers_are_closed_and_one_that_does_gets_it_whole(attacked):
    before = attacked.resident_bytes()
    slow = []
    try:
        for _ in range(60):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", attacked.port))
            s.sendall(get("/us/x/large"))
            slow.append(s)
        wait_until("some are closed", lambda: attacked.metrics()["plist_http_connections_reclaimed_total"] >= 40)
        assert attacked.resident_bytes() - before < 64 << 20
        answer = attacked.client.get("/us/x/large")
        assert answer.status == 200 and len(answer.body) > 4_000_000
        assert attacked.log_contains("bodies and answers of slow clients take more than")
    finally:
        for s in slow:
            s.close()
