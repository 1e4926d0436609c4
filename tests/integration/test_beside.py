"""NGINX on the same machine as the daemons, connected to them by UNIX sockets. For failures see test_nginx_faults.py."""

import os
import pathlib
import socket
import threading
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until


@pytest.fixture(scope="module")
def beside(_two_regions):
    """Both regions have a UNIX socket, and NGINX uses it."""
    stack = _two_regions.restore()

    def change(config):
        for region, keys in config["regions"].items():
            keys["unix_socket"] = f"http-{region}.sock"
        config["nginx"]["local_regions"] = list(stack.regions)
        config.setdefault("http", {})["workers"] = 2
    stack.restart_daemons(change)
    stack.nginx.reload()
    yield stack
    stack.restart_daemons()
    stack.nginx.reload()


def socket_of(stack, region):
    return stack.folder / f"http-{region}.sock"


def test_requests_go_by_the_socket_and_the_port_answers_as_well(beside):
    record = beside.new_record()
    path = f"/us/properties/{record}"
    assert beside.front("us").read(record).region == "us"
    assert beside.client("us").read(record).region == "us"
    beside.front("us").put(record, price=Decimal("2.00"), version=1)

    def logged():
        lines = beside.nginx.logged(path)
        return lines if len(lines) == 2 else None
    assert {line["upstream"] for line in wait_until("both are in NGINX's log", logged)} == {f"unix:{socket_of(beside, 'us')}"}


def test_a_daemon_that_stops_and_starts_again_costs_nobody_an_answer(beside):
    """Writes that arrive during a restart of us are answered 201 by one of the regions and executed once."""
    answers, done = [], threading.Event()

    def write():
        while not done.is_set():
            request_id = new_id()
            answers.append((request_id, beside.front("us").post(price=Decimal("1.00"), request_id=request_id)))
    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = len(answers)
            wait_until("there are writes", lambda n=before: len(answers) > n + 20)
            beside.plistd["us"].stop()
            assert not socket_of(beside, "us").exists()
            wait_until("eu answers", lambda: answers[-1][1].region == "eu")
            beside.plistd["us"].start()
            beside.plistd["us"].wait_ready()
            wait_until("us answers", lambda: answers[-1][1].region == "us")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {answer.status for _, answer in answers} == {201}
    assert {answer.region for _, answer in answers} == {"us", "eu"}
    beside.settle()
    for region in beside.regions:
        assert all(len(beside.database(region).remembered(request_id)["dots"]) == 1 for request_id, _ in answers)


def test_a_killed_daemons_writes_go_to_the_other_region_and_its_socket_is_taken_over_when_it_comes_back(beside):
    record = beside.new_record()
    beside.plistd["us"].kill()
    assert socket_of(beside, "us").exists()
    answer = beside.front("us").put(record, price=Decimal("2.00"), version=1)
    assert (answer.status, answer.region) == (200, "eu")
    beside.plistd["us"].start()
    beside.plistd["us"].wait_ready()
    assert beside.front("us").read(record).region == "us"


def test_a_socket_that_another_daemon_answers_at_is_not_taken_away(beside):
    second = beside.second_daemon("us")
    with pytest.raises(Exception):
        second.start()
    assert "another daemon is listening on it" in second.log_tail(20)
    assert beside.front("us").get("/us/properties?limit=1").region == "us"


def test_the_workers_share_the_connections_that_are_kept(beside):
    """NGINX's read connections: without EPOLLEXCLUSIVE one worker could accept all of them."""
    connections = []
    for _ in range(40):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(socket_of(beside, "us")))
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connections.append(connection)
    held = watched_by_workers(beside.plistd["us"].pid)
    for connection in connections:
        connection.close()
    assert len(held) == 2 and sum(held) >= 40 and min(held) >= 10, held


def watched_by_workers(pid):
    """The number of UNIX sockets in each epoll of a process. Epolls with only a few, such as the control socket's, are left out."""
    counts = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[eventpoll]":
            watched = [line.split()[1] for line in pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() if line.startswith("tfd:")]
            counts.append(sum(os.readlink(f"/proc/{pid}/fd/{target}").startswith("socket:") for target in watched))
    return sorted(count for count in counts if count > 4)
