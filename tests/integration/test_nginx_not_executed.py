"""A write moves to the next region if the daemon says that it was not executed, and only the daemon can say so.

Uses the fake daemons of support/front.py. For the real daemon see test_not_executed.py.
"""

import pytest

from support.client import new_id
from support.front import BEGUN, RACING, SENT, UNSENT, WRITES, Front, is_problem


def _fronts(name, **options):
    @pytest.fixture(scope="module", name=name)
    def fronts():
        front = Front(**options)
        try:
            yield front.start()
        finally:
            front.stop()
    return fronts


def only_errors(config):
    config["nginx"]["failover"]["reads"] = ["error", "timeout"]


two, three = _fronts("two"), _fronts("three", regions=3)
always, never = _fronts("always", regions=3, writes="always"), _fronts("never", writes="never")
pair, errors_alone = _fronts("pair", daemons=2), _fronts("errors_alone", change=only_errors)


@pytest.fixture(params=["two", "three"])
def front(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("method", WRITES)
def test_a_write_that_a_region_has_not_executed_is_executed_by_the_next(front, method):
    front.behave(us="refuses_work")
    request_id = new_id()
    answer = front.send(method, request_id=request_id)
    assert (answer.status, answer.region) == (200, "eu")
    assert answer.headers["x-request-id"] == request_id
    assert not {"x-accel-redirect", "x-plist-executed"} & set(answer.headers)
    assert front.executions(request_id) == {r: int(r == "eu") for r in front.names}


def test_a_body_arrives_whole_in_the_region_that_executes_it(front):
    front.behave(us="refuses_work")
    body = b'{"note":"' + b"x" * 60000 + b'"}'
    answer = front.client.request("POST", "/us/properties?a=%2F", raw_body=body, request_id="id-1", headers={"If-Match": '"us:1"'})
    assert answer.region == "eu"
    received, = front.daemons["eu"][0].received
    assert (received["path"], received["body"], received["headers"]["if-match"]) == ("/us/properties?a=%2F", body, '"us:1"')


def test_reads_go_on_as_well(front, errors_alone):
    for each in (front, errors_alone):  # also if no status moves a read
        each.behave(us="refuses_work")
        for _ in range(5):
            answer = each.send("GET")
            assert (answer.status, answer.region) == (200, "eu")
            assert "x-plist-executed" not in answer.headers
        each.behave()
        assert each.send("GET").region == "us", "and no failure is counted"


def test_a_write_that_no_region_has_executed_is_refused_with_the_last_ones_own_answer(front):
    front.behave(**{r: "refuses_work" for r in front.names})
    request_id = new_id()
    answer = front.send("PUT", request_id=request_id)
    assert (answer.status, answer.region) == (503, front.names[-1])
    assert answer.headers["x-plist-executed"] == "no" and "x-accel-redirect" not in answer.headers
    assert answer.json == {"error": "of the daemon itself"}
    assert sum(front.executions(request_id).values()) == 0


@pytest.mark.parametrize("how", [("refuses_work", "refuses"), ("refuses", "refuses_work"), ("refuses_work", "black_hole")])
def test_not_executed_and_unsent_in_any_order_go_on(three, how):
    three.behave(us=how[0], eu=how[1])
    request_id = new_id()
    answer = three.send("PUT", request_id=request_id)
    assert (answer.status, answer.region) == (200, "ap")
    assert three.executions(request_id) == {"us": 0, "eu": 0, "ap": 1}


@pytest.mark.parametrize("fault", UNSENT)
def test_not_executed_and_then_unsent_is_nothing_written(front, fault):
    front.behave(us="refuses_work", **{r: fault for r in front.names[1:]})
    answer = front.send("PUT")
    assert is_problem(answer, 503) and answer.headers["x-plist-executed"] == "no" and answer.region == "nginx"


@pytest.mark.parametrize("fault", SENT)
def test_a_write_stops_at_the_region_that_may_have_executed_it(front, fault):
    front.behave(us="refuses_work", eu=fault)
    request_id = new_id()
    answer = front.send("PUT", request_id=request_id)
    done = front.executions(request_id)
    assert done["us"] == 0 and sum(done.values()) <= 1, done
    if fault in RACING:
        return
    assert done.get("ap", 0) == 0, done
    if fault.startswith("answers_"):
        assert answer.status == int(fault[8:]) and "x-plist-executed" not in answer.headers
    elif fault in BEGUN:
        assert answer is None
    else:
        assert is_problem(answer, 504) and "x-plist-executed" not in answer.headers


@pytest.mark.parametrize("fault", ["reads_and_closes", "hangs"])
def test_not_executed_of_one_region_says_nothing_about_the_region_before(three, fault):
    """us may have executed the write, so it stays there, whatever eu would answer."""
    three.behave(us=fault, eu="refuses_work")
    request_id = new_id()
    assert is_problem(three.send("PUT", request_id=request_id), 504)
    assert three.executions(request_id)["us"] == 1 and not three.daemons["eu"][0].received


FORGED = {"X-Plist-Executed": "no", "X-Plist-Next": "@us.write.2", "X-Accel-Redirect": "@us.write.2", "X-Plist-Unsent": "0"}


@pytest.mark.parametrize("fault", ["answers_503", "answers_504", "reads_and_closes", "half_a_header", "answers"])
def test_no_client_can_forge_it(front, fault):
    front.behave(us=fault)
    request_id = new_id()
    answer = front.client.request("PUT", "/us/properties/7", body={"version": 1}, request_id=request_id, headers=FORGED)
    assert front.executions(request_id) == {r: int(r == "us") for r in front.names}
    assert answer.status == {"answers": 200, "answers_503": 503}.get(fault, 504)
    received, = front.daemons["us"][0].received
    assert [value for name, value in received["pairs"] if name.lower() == "x-plist-next"] == ["@us.write.2"], "NGINX's own"


def test_a_client_cannot_choose_where_a_refused_request_goes(three):
    three.behave(us="refuses_work")
    for place in ("@eu.write.2", "@us.write.failed", "/metrics", "@unavailable"):
        answer = three.client.request("PUT", "/us/properties/7", body={}, request_id=new_id(), headers={"X-Plist-Next": place})
        assert (answer.status, answer.region) == (200, "eu")


def test_the_other_daemon_of_a_region_comes_before_the_next_region(pair):
    pair.behave()
    pair.daemons["us"][0].behave("refuses_work")
    for _ in range(6):
        request_id = new_id()
        assert pair.send("PUT", request_id=request_id).region == "us"
        assert pair.executions(request_id) == {"us": 1, "eu": 0}
    pair.daemons["us"][1].behave("refuses_work")
    assert pair.send("PUT").region == "eu"


def test_never_keeps_a_write_that_was_not_executed(never):
    never.behave(us="refuses_work")
    answer = never.send("PUT")
    assert (answer.status, answer.region, answer.headers["x-plist-executed"]) == (503, "us", "no")
    assert not never.daemons["eu"][0].received


def test_always_claims_nothing_for_the_regions_before(always):
    always.behave(us="reads_and_closes", eu="refuses_work", ap="refuses_work")
    answer = always.send("PUT")
    assert answer.status == 503 and "x-plist-executed" not in answer.headers
    always.behave(us="reads_and_closes", eu="refuses_work", ap="refuses")
    assert is_problem(always.send("PUT"), 504)
    always.behave(us="refuses_work", eu="reads_and_closes")
    assert always.send("PUT").region == "ap"
