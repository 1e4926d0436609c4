"""NGINX with the generated configuration, in front of daemons that fail in many ways.

A write is executed at most once (except with `writes: always`), another region answers it if none of it was sent, and
reads are answered as long as one region can answer. Uses the fake daemons of support/front.py, so neither a database nor
a broker is needed.
"""

import json
import os
import shutil
import threading
import time

import pytest

from support.client import new_id
from support.front import BEGUN, RACING, SENT, UNSENT, WRITES, Front, is_problem
from support.process import wait_until


PLACES = {"three_regions": {"regions": 3}, "two_regions_by_socket": {"regions": 2, "beside": True}}
if "PLIST_ALL_PLACES" in os.environ:  # ./run campaign nginx-faults
    PLACES["two_regions"] = {"regions": 2}


@pytest.fixture(scope="module", params=PLACES.values(), ids=PLACES)
def regions(request):
    return request.param


def _front(**options):
    front = Front(**options)
    try:
        yield front.start()
    finally:
        front.stop()


def _fronts(writes):
    @pytest.fixture(scope="module", name=writes)
    def fronts(regions):
        yield from _front(writes=writes, **regions)
    return fronts


unsent, always, never = (_fronts(writes) for writes in ("unsent", "always", "never"))


@pytest.fixture(scope="module", params=[False, True], ids=["by_address", "one_by_socket"])
def two_daemons(request):
    yield from _front(daemons=2, beside=request.param)


# Writes, unsent.

@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("fault", UNSENT)
def test_a_write_that_was_not_sent_is_executed_by_the_next_region(unsent, method, fault):
    unsent.behave(us=fault)
    request_id, start = new_id(), time.monotonic()
    answer = unsent.send(method, request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    assert time.monotonic() - start < 0.2 + 0.5, "the connect timeout is 200 ms"
    assert unsent.executions(request_id) == {r: int(r == "eu") for r in unsent.names}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("fault", SENT)
def test_a_write_that_was_sent_is_executed_at_most_once(unsent, method, fault):
    unsent.behave(us=fault)
    request_id = new_id()
    answer = unsent.send(method, request_id=request_id)
    done = unsent.executions(request_id)
    assert sum(done.values()) <= 1, done
    if done["eu"]:
        assert fault in RACING and (answer.status, answer.region) == (200, "eu")
    elif fault.startswith("answers_"):
        assert answer.status == int(fault[8:]) and answer.json == {"error": "of the daemon itself"}
    elif fault in BEGUN:
        assert answer is None  # the client sees that it is incomplete
    else:
        assert is_problem(answer, 504)
        assert answer.json["detail"] == "outcome unknown, retry with the same X-Request-ID"
        assert answer.headers["x-request-id"] == request_id and answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("first", UNSENT)
@pytest.mark.parametrize("second", SENT)
def test_a_write_stops_at_the_region_that_it_was_sent_to(unsent, first, second):
    unsent.behave(us=first, eu=second)
    request_id = new_id()
    unsent.send("PUT", request_id=request_id)
    done = unsent.executions(request_id)
    assert done["us"] == 0 and sum(done.values()) <= 1, done
    assert done.get("ap", 0) == 0 or second in RACING, done


def test_with_all_regions_down_nothing_was_written_and_the_first_one_back_answers(unsent):
    unsent.behave(**{r: "refuses" for r in unsent.names})
    for _ in range(3):
        for method in WRITES:
            answer = unsent.send(method)
            assert is_problem(answer, 503) and answer.json["retryable"] is True and answer.headers["retry-after"] == "1"
        assert unsent.send("GET").status == 503
    unsent.daemons["eu"][0].behave("answers")
    answer = unsent.send("PUT")
    assert (answer.status, answer.region) == (200, "eu"), "writes do not depend on earlier failures"
    wait_until("reads are answered again", lambda: unsent.send("GET").region == "eu")


def test_a_failed_write_moves_no_other_request(unsent):
    unsent.behave(us="answers_503")
    for _ in range(10):
        assert unsent.send("PUT").status == 503
    unsent.daemons["us"][0].behave("answers")
    for _ in range(10):
        assert unsent.send("PUT").region == "us"
        assert unsent.send("GET").region == "us"


def test_a_region_that_comes_back_takes_its_writes_at_once(unsent):
    unsent.behave(us="refuses")
    assert unsent.send("PUT").region == "eu"
    unsent.daemons["us"][0].behave("answers")
    assert unsent.send("PUT").region == "us"


# Writes, always and never.

@pytest.mark.parametrize("fault", [*UNSENT, *SENT])
def test_never_sends_a_write_to_another_region(never, fault):
    never.behave(us=fault)
    request_id = new_id()
    answer = never.send("PUT", request_id=request_id)
    done = never.executions(request_id)
    assert sum(done.values()) == done["us"] <= 1, done
    assert not any(d.received for r in never.names[1:] for d in never.daemons[r])
    if fault in UNSENT:
        assert is_problem(answer, 503)
    elif not fault.startswith("answers_") and fault not in BEGUN + RACING:
        assert is_problem(answer, 504)


@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_always_sends_a_write_to_the_next_region_after_any_fault(always, fault):
    always.behave(us=fault)
    request_id = new_id()
    answer = always.send("PUT", request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    assert always.executions(request_id)["eu"] == 1


def test_always_tells_an_unknown_outcome_from_nothing_written(always):
    always.behave(**{r: "reads_and_closes" for r in always.names})
    assert is_problem(always.send("PUT"), 504)
    always.behave(**{r: "refuses" for r in always.names})
    assert is_problem(always.send("PUT"), 503)


# Reads.

@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_a_read_survives_a_region(unsent, fault):
    unsent.behave(us=fault)
    for _ in range(4):
        answer = unsent.send("GET")
        assert (answer.status, answer.region) == (200, "eu")


@pytest.mark.parametrize("fault", [*UNSENT, *(f for f in SENT if f not in BEGUN)])
def test_a_read_survives_all_regions_but_one(unsent, fault):
    alive = unsent.names[-1]
    unsent.behave(**{r: fault for r in unsent.names[:-1]})
    for region in unsent.names:
        answer = unsent.send("GET", region=region)
        assert (answer.status, answer.region) == (200, alive)


def test_a_region_that_is_down_is_left_alone_by_reads_for_a_while(unsent):
    unsent.behave(us="black_hole")
    # At the same time, since NGINX counts the failures of a second.
    threads = [threading.Thread(target=unsent.send, args=("GET",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    start = time.monotonic()
    for _ in range(3):
        assert unsent.send("GET").region == "eu"
    assert time.monotonic() - start < 0.2, "each would wait 200 ms to connect"
    unsent.daemons["us"][0].behave("answers")
    wait_until("the region is asked again", lambda: unsent.send("GET").region == "us")


def test_a_read_that_no_region_can_answer_gets_the_last_ones_own_answer(unsent):
    unsent.behave(**{r: "answers_503" for r in unsent.names})
    answer = unsent.send("GET")
    assert answer.status == 503 and answer.json == {"error": "of the daemon itself"}


def test_health_is_answered_while_one_region_lives(unsent):
    unsent.behave(**{r: "refuses" for r in unsent.names[:-1]})
    answer = unsent.client.get("/health")
    assert (answer.status, answer.json["status"], answer.region) == (200, "ok", unsent.names[-1])
    assert unsent.client.get("/nginx-health").json == {"status": "ok"}


def test_a_kept_connection_that_swallows_a_request_is_noticed_by_nobody(unsent):
    """The daemon closes an idle connection at the moment when NGINX uses it."""
    unsent.behave(us="drops_kept")
    for _ in range(10):
        request_id = new_id()
        assert unsent.send("GET").status == 200
        answer = unsent.send("PUT", request_id=request_id)
        assert (answer.status, answer.region) == (200, "us")
    us = unsent.daemons["us"][0]
    assert len(us.executed) == len(set(us.executed)) == 10


# Order and share.

def test_regions_are_asked_in_the_order_of_the_yaml_beginning_with_the_named_one(unsent):
    unsent.behave(us="refuses")
    for _ in range(20):
        assert unsent.send("GET").region == "eu" and unsent.send("PUT").region == "eu"
    assert not any(d.received for r in unsent.names[2:] for d in unsent.daemons[r])
    unsent.behave(eu="refuses")
    after_eu = unsent.names[2 % len(unsent.names)]
    for _ in range(20):
        assert unsent.send("GET", region="eu").region == after_eu
        assert unsent.send("PUT", region="eu").region == after_eu


def test_writes_stay_in_their_region_while_one_of_its_daemons_lives(two_daemons):
    two_daemons.behave()
    for _ in range(20):
        assert two_daemons.send("PUT").region == "us"
    shares = [len(d.executed) for d in two_daemons.daemons["us"]]
    assert min(shares) >= 5, f"both take their share: {shares}"
    two_daemons.daemons["us"][0].behave("refuses")
    for _ in range(20):
        request_id = new_id()
        assert two_daemons.send("PUT", request_id=request_id).region == "us"
        assert two_daemons.executions(request_id) == {"us": 1, "eu": 0}
    two_daemons.daemons["us"][1].behave("refuses")
    assert two_daemons.send("PUT").region == "eu"


# What is passed through, and what is not.

def test_requests_arrive_as_they_were_sent(unsent):
    unsent.behave()
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "If-Match": '"eu:1+us:2"'}
    path = "/us/properties/7%2F8?min_price=1&q=a%20b%3Bc"
    answer = unsent.client.request("PUT", path, raw_body=b'{"price": 500000.10}', request_id="a.b_c~d-1", headers=headers)
    assert answer.status == 200 and answer.headers["x-request-id"] == "a.b_c~d-1"
    received, = unsent.daemons["us"][0].received
    assert (received["method"], received["path"], received["body"]) == ("PUT", path, b'{"price": 500000.10}')
    assert received["headers"]["x-request-id"] == "a.b_c~d-1"
    assert received["headers"]["traceparent"] == headers["traceparent"]
    assert received["headers"]["if-match"] == headers["If-Match"]
    assert received["headers"]["host"] == f"127.0.0.1:{unsent.port}"


def test_a_request_id_that_is_given_twice_arrives_twice(unsent):
    unsent.behave()
    raw = b"PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\nX-Request-ID: two\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    assert b" 200 " in unsent.client.raw(raw)
    received, = unsent.daemons["us"][0].received
    assert [value for name, value in received["pairs"] if name.lower() == "x-request-id"] == ["one", "two"]


def test_a_write_through_the_next_region_arrives_whole(unsent):
    unsent.behave(us="refuses")
    body = b'{"note":"' + b"x" * 60000 + b'"}'
    answer = unsent.client.request("POST", "/us/properties?a=%2F", raw_body=body, request_id="id-1", headers={"traceparent": "00-1-2-03"})
    assert (answer.status, answer.region) == (200, "eu")
    received, = unsent.daemons["eu"][0].received
    assert (received["path"], received["body"]) == ("/us/properties?a=%2F", body)
    assert received["headers"]["traceparent"] == "00-1-2-03"


def test_an_unknown_region_and_a_body_too_large_are_problems(unsent):
    unsent.behave()
    for path in ("/mars/properties/7", "/", "/metrics", "/us"):
        assert is_problem(unsent.client.get(path), 404)
    answer = unsent.client.request("PUT", "/us/properties/7", raw_body=b"x" * 65537, request_id="id-2")
    assert is_problem(answer, 413) and answer.headers["x-request-id"] == "id-2"
    assert not unsent.daemons["us"][0].received


def test_every_request_is_logged_with_its_id_and_what_was_sent(unsent):
    unsent.behave(us="refuses")
    request_id = new_id()
    unsent.send("PUT", request_id=request_id)

    def line():
        lines = [json.loads(text) for text in (unsent.folder / "access.log").read_text().splitlines()]
        return next((entry for entry in lines if entry["request_id"] == request_id), None)
    entry = wait_until("the request is logged", line)
    assert entry["status"] == "200" and entry["region"] == "eu"
    sent = entry["upstream_bytes_sent"].split(" : ")
    assert sent[0] == "0" and int(sent[1]) > 0


def test_an_unprivileged_user_can_run_it():
    front = Front()
    user = ()
    if os.getuid() == 0:
        user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        shutil.chown(front.folder, "nobody", "nogroup")
    try:
        front.start(user=user)
        assert front.send("PUT").status == 200
    finally:
        front.stop()
