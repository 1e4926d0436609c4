"""NGINX between clients and regions: routing, failures, and that no failure executes a write twice."""

import os
import re
import signal
import threading
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import end_orphans, family, port_is_free, started_at, wait_until
from support.proxy import CUT, HANG, LOSE, SWALLOW, Proxy


@pytest.fixture
def faulty(stack):
    """NGINX reaches the daemon of us through a proxy; nothing else is changed."""
    proxy = Proxy(stack.plistd["us"].port)

    def change(config):
        config["regions"]["us"]["upstream"] = [f"127.0.0.1:{proxy.port}"]
        config["nginx"]["read_timeout"] = "1s"
    stack.write_config(change)
    stack.nginx.reload()
    yield proxy
    proxy.stop()
    stack.write_config()
    stack.nginx.reload()


def executions(stack, request_id):
    """The number of regions that executed the request, once all events have been applied."""
    stack.settle()
    dots = {}
    for region in stack.regions:
        known = stack.database(region).remembered(request_id)
        dots |= known["dots"] if known else {}
    return len(dots)


def test_each_prefix_goes_to_its_region(stack):
    for region in stack.regions:
        for _ in range(3):
            assert stack.front(region).get(f"/{region}/properties?limit=1").region == region


def test_the_log_names_an_answer_of_nginxs_own_by_its_instance(stack):
    path = f"/nowhere-{new_id()}"
    record = stack.new_record()
    instance = stack.front("us").get(path).json["instance"]
    stack.front("us").get(f"/us/properties/{record}?{path}")

    def lines():
        found = stack.nginx.logged(path)
        return found if len(found) == 2 else None
    # NGINX's workers write their lines in no particular order.
    own, other = sorted(wait_until("both lines are in the log", lines), key=lambda line: line["uri"] != path)
    assert own["id"] == instance.removeprefix("urn:plist:nginx:") != ""
    assert other["id"] == "" and other["region"] == "us"


def test_a_refused_connection_moves_a_write_to_the_other_region(stack, us):
    record = stack.new_record()
    stack.plistd["us"].kill()
    request_id = new_id()
    answer = stack.front("us").put(record, price=Decimal("2.00"), version=1, request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    stack.plistd["us"].start()
    assert executions(stack, request_id) == 1


def write(front, method, record, request_id):
    if method == "PUT":
        return front.put(record, price=Decimal("2.00"), version=1, request_id=request_id)
    if method == "POST":
        return front.post(price=Decimal("2.00"), request_id=request_id)
    return front.delete(record, version=1, request_id=request_id)


def is_unknown(answer, request_id):
    assert answer.status == 504, answer
    assert "retry with the same X-Request-ID" in answer.json["error"]
    assert answer.headers["x-request-id"] == request_id


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("fault, executed", [(SWALLOW, 0), (HANG, 0), (LOSE, 1)])
def test_a_write_that_was_sent_and_not_answered_is_504_and_executed_at_most_once(stack, faulty, method, fault, executed):
    record = stack.new_record()
    request_id = new_id()
    front = stack.front("us")
    faulty.mode = fault
    answer = write(front, method, record, request_id)
    faulty.heal()
    is_unknown(answer, request_id)
    assert executions(stack, request_id) == executed
    # In any case the retry that the answer asks for leads to exactly one execution.
    if method == "PUT":
        again = front.put(record, price=Decimal("2.00"), version=1, request_id=request_id)
        assert again.status == (422 if executed else 200)
        assert executions(stack, request_id) == 1


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_connection_that_is_closed_at_once_moves_a_write_only_if_nothing_was_sent(stack, faulty, method):
    record = stack.new_record()
    request_id = new_id()
    faulty.mode = CUT
    answer = write(stack.front("us"), method, record, request_id)
    faulty.heal()
    # NGINX may notice the close before or after it has sent the first byte; this test
    # cannot know which.
    if answer.region == "eu":
        assert answer.status == {"PUT": 200, "POST": 201, "DELETE": 204}[method], answer
        assert executions(stack, request_id) == 1
    else:
        is_unknown(answer, request_id)
        assert executions(stack, request_id) == 0


@pytest.mark.parametrize("fault", [CUT, SWALLOW, HANG, LOSE])
def test_no_read_is_lost_to_a_fault(stack, faulty, fault):
    record = stack.new_record()
    faulty.mode = fault
    for _ in range(5):
        answer = stack.front("us").read(record)
        assert (answer.status, answer.region) == (200, "eu"), answer
    faulty.heal()


def test_a_frozen_daemon_costs_no_read_and_executes_no_write_twice(stack):
    record = stack.new_record()
    front = stack.front("us")
    request_id = new_id()
    answers = []
    stack.write_config(lambda config: config["nginx"].update(read_timeout="1s"))
    stack.nginx.reload()
    stack.plistd["us"].pause()
    thread = threading.Thread(target=lambda: answers.append(front.put(record, price=2, version=1, request_id=request_id)))
    thread.start()
    assert front.read(record).status == 200
    thread.join()
    stack.plistd["us"].resume()
    assert answers[0].status == 504, answers
    wait_until("NGINX asks us again", lambda: front.read(record).region == "us")
    assert executions(stack, request_id) <= 1
    stack.write_config()
    stack.nginx.reload()


def test_all_regions_down_is_503_and_one_back_is_found_at_once(stack):
    record = stack.new_record()
    front = stack.front("us")
    for daemon in stack.plistd.values():
        daemon.kill()
    answer = front.put(record, price=2, version=1)
    assert answer.status == 503, answer
    assert front.read(record).status in (502, 503, 504)
    stack.plistd["eu"].start()
    answer = front.put(record, price=2, version=1)
    assert (answer.status, answer.region) == (200, "eu")
    wait_until("reads are answered", lambda: front.read(record).status == 200)
    stack.plistd["us"].start()


def test_a_reload_of_nginx_loses_no_request(stack):
    record = stack.new_record()
    front = stack.front("us")
    statuses = []
    done = threading.Event()

    def read():
        while not done.is_set():
            statuses.append(front.read(record).status)
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        stack.nginx.reload()
    done.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200} and len(statuses) > 20


def test_workers_of_a_master_that_was_killed_are_found_and_ended(stack):
    nginx = stack.nginx
    master, workers = nginx.pid, family(nginx.pid)[1:]
    end_orphans(nginx.folder / "process.json")
    assert nginx.running, "a running server has no orphans"
    os.kill(master, signal.SIGKILL)
    wait_until("the master has ended, although nobody has waited for it", lambda: started_at(master) is None)
    assert any(started_at(worker) for worker in workers) and not port_is_free(nginx.port)
    end_orphans(nginx.folder / "process.json")
    assert not any(started_at(worker) for worker in workers) and port_is_free(nginx.port)
    nginx.start()


def test_check_says_whether_the_file_is_what_the_yaml_asks_for(stack):
    assert stack.admin("nginx", "--check", stack.nginx.file).returncode == 0
    text = stack.nginx.file.read_text()
    changed = stack.folder / "changed.conf"
    changed.write_text(re.sub("worker_connections [0-9]+", "worker_connections 77", text))
    done = stack.admin("nginx", "--check", changed, check=False)
    assert done.returncode == 1
    line = [n for n, text in enumerate(changed.read_text().splitlines(), 1) if "worker_connections 77" in text]
    assert done.stdout == "" and f"first in line {line[0]};" in done.stderr
