"""The HTTP contract as seen by a client of NGINX: the response to each request, and which error takes precedence."""

import json
import re
import threading
from decimal import Decimal

import pytest

from support.client import new_id
from support.process import wait_until

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


@pytest.fixture
def front(stack):
    return stack.front("us")


@pytest.fixture
def record(stack):
    return stack.new_record("us", price="100.00", bedrooms=3, bathrooms=2, everywhere=False)


def problem(answer, status, title=None):
    """Checks that a response is an RFC 9457 problem with this status; returns its members."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    told = answer.json
    assert {"type", "title", "status", "detail", "instance", "error"} <= told.keys(), told
    assert told["status"] == status
    assert isinstance(told["error"], str) and told["error"]
    if title:
        assert told["title"] == title
    return told


def pointers(told):
    return sorted(fault["pointer"] for fault in told["errors"])


# Health.


def test_health_is_ok_and_names_the_region(stack, us, eu, front):
    assert us.get("/health").json == {"status": "ok", "region": "us"}
    assert eu.get("/health").json == {"status": "ok", "region": "eu"}
    for region in ("us", "eu"):
        answer = front.get(f"/{region}/health")
        assert (answer.status, answer.json) == (200, {"status": "ok", "region": region})
    assert front.get("/health").json["status"] == "ok"


def test_ready_is_200_when_everything_is_there(us):
    assert us.get("/ready").status == 200


def test_operators_have_a_listener_and_clients_do_not_see_what_is_theirs(stack, us, front):
    operators = stack.plistd["us"].operators
    for path in ("/metrics", "/ready", "/health", "/us/replication-lag"):
        assert operators.get(path).status == 200, path
    for path in ("/us/properties/1", "/us/properties", "/us/health", "/"):
        answer = operators.get(path)
        assert answer.status == 404 and "for operators" in answer.json["detail"], answer
    hidden = us.get("/metrics")
    assert hidden.status == 404 and "admin.listen" in hidden.json["detail"] and "plist_" not in hidden.text
    assert front.get("/metrics").status == front.get("/ready").status == 404


def test_every_answer_names_the_region_that_gave_it_and_repeats_the_request_id(us, record):
    for path in (us.path(record), us.path(1), "/nowhere/properties/1", "/us/replication-lag", "/health"):
        request_id = new_id()
        answer = us.request("GET", path, request_id=request_id)
        assert answer.region == "us", path
        assert answer.headers["x-request-id"] == request_id, path


# Reading.


def test_a_record_is_read_whole_in_its_order_with_numbers_as_numbers(front, record):
    answer = front.read(record)
    assert answer.status == 200
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert list(answer.json) == ["id", "price", "bedrooms", "bathrooms", "region_origin", "version", "updated_at"]
    assert b'"price":100.00' in answer.body.replace(b" ", b"")
    read = answer.json
    assert (read["id"], read["bedrooms"], read["bathrooms"], read["region_origin"], read["version"]) == (record, 3, 2, "us", 1)
    assert TIME.match(read["updated_at"])
    assert answer.etag == '"us:1"'


def test_if_none_match_answers_304_while_nothing_changed(front, record):
    etag = front.read(record).etag
    for matching in (etag, "*", f"W/{etag}", f'"other", {etag}'):
        answer = front.read(record, If_None_Match=matching)
        assert (answer.status, answer.body, answer.etag) == (304, b"", etag), matching
    front.put(record, price=Decimal("1.00"), version=1)
    assert front.read(record, If_None_Match=etag).status == 200


@pytest.mark.parametrize("record_id", ["999999999", "0", "-1", "abc", "1.5", "9007199254740993", "9" * 40, "1%20", "%2e"])
def test_an_unknown_record_is_404(front, record_id):
    problem(front.read(record_id), 404, "Property not found")


@pytest.mark.parametrize("path", ["/asia/properties/1", "/asia/health", "/nowhere", "/us/houses/1", "/us/properties/1/2", "/"])
def test_an_unknown_path_or_region_is_404(us, path):
    problem(us.get(path), 404)


def test_a_region_answers_under_another_regions_prefix(stack, eu, record):
    stack.wait_version("eu", record, 1)
    answer = eu.get(f"/us/properties/{record}")
    assert (answer.status, answer.region) == (200, "eu")


def test_a_method_that_no_route_has_is_405_and_says_which_there_are(us, record):
    answer = us.request("PATCH", us.path(record), {"price": 1}, new_id())
    problem(answer, 405)
    assert {"GET", "PUT", "DELETE"} <= {m.strip() for m in answer.headers["allow"].split(",")}


def test_head_is_answered_like_get_without_a_body(us, record):
    answer = us.request("HEAD", us.path(record))
    assert (answer.status, answer.body, answer.etag) == (200, b"", '"us:1"')


# Exact numbers.


@pytest.mark.parametrize(
    "sent, shown",
    [
        ("500000", "500000.00"), ("500000.1", "500000.10"), ("0.1", "0.10"), ("0", "0.00"), ("9999999999.99", "9999999999.99"),
        ("1e3", "1000.00"), ("4503599627.37", "4503599627.37"), ("1.10E+1", "11.00"),
    ])
def test_a_price_comes_back_exactly(us, record, sent, shown):
    answer = us.request("PUT", us.path(record), raw_body=f'{{"price":{sent},"version":1}}'.encode(), request_id=new_id(),
                        headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer
    for body in (answer.body, us.read(record).body):
        assert f'"price":{shown},'.encode() in body.replace(b" ", b"")


@pytest.mark.parametrize("sent", ["-0.01", "10000000000", "0.001", "1e10", '"5"', "true", "null", "[]", "{}", "1e-3", "1e999999999", "-1e-999999999",
                                  "7" * 1001, "0." + "3" * 1001])
def test_a_price_that_does_not_fit_is_reported_with_its_pointer(us, record, sent):
    answer = us.request("PUT", us.path(record), raw_body=f'{{"price":{sent},"version":1}}'.encode(), request_id=new_id())
    assert pointers(problem(answer, 400)) == ["/price"]
    assert us.read(record).json["version"] == 1


def test_a_number_outside_every_range_is_reported_wherever_it_occurs(us, record):
    answer = us.request("PUT", us.path(record), raw_body=b'{"a/b":[1,{"c~":1e1001}],"price":1e-1001,"version":1}', request_id=new_id())
    assert pointers(problem(answer, 400)) == ["/a~1b/1/c~0", "/price"]
    assert us.read(record).json["version"] == 1


# PUT.


def test_put_answers_the_whole_updated_record(front, record):
    answer = front.put(record, price=Decimal("500000.00"), version=1)
    assert answer.status == 200
    told = answer.json
    assert (told["id"], told["price"], told["version"], told["bedrooms"], told["region_origin"]) == (
        record, Decimal("500000.00"), 2, 3, "us")
    assert answer.etag == '"us:2"'
    assert front.read(record).body == answer.body


def test_put_changes_only_the_fields_that_it_names(us, record):
    told = us.put(record, bedrooms=4, version=1).json
    assert (told["bedrooms"], told["bathrooms"], told["price"]) == (4, 2, Decimal("100.00"))
    told = us.put(record, bathrooms=None, version=2).json
    assert (told["bedrooms"], told["bathrooms"]) == (4, None)


def test_updated_at_grows_with_every_write(us, record):
    times = [us.put(record, price=n, version=n).json["updated_at"] for n in range(1, 6)]
    assert times == sorted(set(times))


def test_if_match_locks_like_a_version(us, record):
    answer = us.put(record, price=Decimal("2.00"), if_match='"us:1"')
    assert (answer.status, answer.etag) == (200, '"us:2"')
    assert us.put(record, price=Decimal("3.00"), if_match="*").status == 200
    for stale in ('"us:1"', '"us:9"', 'W/"us:3"', '"eu:3"', '"nonsense"'):
        told = problem(us.put(record, price=Decimal("4.00"), if_match=stale), 412)
        assert told["current_etag"] == '"us:3"', stale
    assert us.read(record).json["version"] == 3


# The statuses of a write, in the order in which they are checked. Each request has the
# fault that its test is named after, and all later ones as well.


BAD_IDS = ["", " ", "a b", "a/b", "é".encode().decode("latin-1"), "x" * 256, "a,b", "{}"]


@pytest.mark.parametrize("request_id", [None, *BAD_IDS])
def test_a_missing_or_malformed_request_id_is_400_before_any_other_fault(us, request_id):
    answer = us.request("PUT", us.path(999999998), raw_body=b"no json", request_id=request_id)
    assert "X-Request-ID" in problem(answer, 400)["error"]


def test_a_request_id_given_twice_is_400(us, record):
    body = b'{"price":5,"version":1}'
    received = us.raw(b"PUT %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: a1\r\nX-Request-ID: a2\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                      % (us.path(record).encode(), len(body), body))
    assert received.startswith(b"HTTP/1.1 400 "), received[:200]
    assert us.read(record).json["version"] == 1


def test_the_longest_request_id_is_accepted(us, record):
    assert us.put(record, price=1, version=1, request_id=(new_id() + "~._-" + "Z" * 255)[:255]).status == 200


def test_a_body_that_is_too_large_is_413(us):
    answer = us.request("PUT", us.path(999999998), raw_body=b"[" + b" " * 70000 + b"]", request_id=new_id())
    problem(answer, 413)


@pytest.mark.parametrize("body", [b"", b"no json", b"{", b'{"price":1,}', b'{"price":1}x', b'{"price":01,"version":1}', b"\xff",
                                  b'{"price":1,"price":2,"version":1}', b'{"price":NaN,"version":1}', b"[" * 100 + b"]" * 100])
def test_a_body_that_is_not_json_is_400(us, body):
    problem(us.request("PUT", us.path(999999998), raw_body=body, request_id=new_id()), 400)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_a_body_that_is_not_an_object_is_400(us, body):
    problem(us.request("PUT", us.path(999999998), raw_body=body, request_id=new_id()), 400)


def test_every_fault_of_a_body_is_listed(us):
    answer = us.put(999999998, price="cheap", bedrooms=-1, bathrooms=Decimal("1.5"), colour="red", version=0)
    told = problem(answer, 400)
    assert pointers(told) == ["/bathrooms", "/bedrooms", "/colour", "/price", "/version"]
    assert all(fault["detail"] for fault in told["errors"])


def test_a_put_that_changes_nothing_is_400(us, record):
    problem(us.put(record, version=1), 400)


def test_a_repeated_request_is_422_even_when_its_version_is_stale_by_now(us, record):
    request_id = new_id()
    assert us.put(record, price=5, version=1, request_id=request_id).status == 200
    problem(us.put(record, price=5, version=1, request_id=request_id), 422, "Duplicate request")
    assert us.read(record).json["version"] == 2


def test_the_same_request_is_recognised_however_its_body_is_written(us, record):
    request_id = new_id()
    assert us.put(record, price=Decimal("5.00"), version=1, request_id=request_id).status == 200
    answer = us.request("PUT", us.path(record), raw_body=b' {"version":1, "price": 5e0}\n', request_id=request_id)
    problem(answer, 422, "Duplicate request")


def test_an_id_used_for_another_request_is_422_even_for_an_unknown_record(us, record):
    request_id = new_id()
    assert us.put(record, price=5, version=1, request_id=request_id).status == 200
    reused = "Request ID reused with a different request"
    problem(us.put(record, price=6, version=1, request_id=request_id), 422, reused)
    problem(us.put(999999998, price=5, version=1, request_id=request_id), 422, reused)
    problem(us.put(record, price=5, if_match='"us:1"', version=1, request_id=request_id), 422, reused)
    problem(us.delete(record, version=2, request_id=request_id), 422, reused)
    for no_record in ("abc", "0", "9" * 30):
        problem(us.put(no_record, price=5, version=1, request_id=request_id), 422, reused)
        problem(us.delete(no_record, version=2, request_id=request_id), 422, reused)


@pytest.mark.parametrize("record_id", [999999998, "abc", "0", "9" * 30])
def test_a_bad_body_is_reported_before_an_unknown_record(us, record_id):
    problem(us.put(record_id, price="x", version=1), 400)
    problem(us.put(record_id, price=5, version=1), 404)


def test_a_bad_body_is_reported_before_a_known_id(us, record):
    request_id = new_id()
    assert us.put(record, price=5, version=1, request_id=request_id).status == 200
    problem(us.put(record, price="x", version=1, request_id=request_id), 400)


def test_an_id_that_is_still_running_is_409_with_retry_after(stack, us, record):
    request_id = new_id()
    holder = stack.database("us").connect()
    first = []
    try:
        holder.cursor().execute("SELECT 1 FROM properties WHERE id = %s FOR UPDATE", (record,))
        thread = threading.Thread(target=lambda: first.append(us.put(record, price=5, version=1, request_id=request_id)))
        thread.start()
        wait_until("the first request waits for the row", lambda: stack.database("us").value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'plist'"))
        # These use separate connections, which are spread over the daemon's workers: each
        # worker must know which requests the others are executing.
        again = [us.put(record, price=5, version=1, request_id=request_id) for _ in range(12)]
    finally:
        holder.rollback()
        holder.close()
    thread.join()
    for second in again:
        problem(second, 409)
        assert second.headers["retry-after"] == "1"
    assert first[0].status == 200


def test_an_unknown_record_is_404_before_its_lock_is_looked_at(us):
    problem(us.put(999999998, price=5, version=1), 404, "Property not found")
    problem(us.put(999999998, price=5), 404, "Property not found")
    problem(us.put(999999998, price=5, if_match='"us:1"'), 404, "Property not found")


def test_another_version_is_409_with_the_current_one(us, record):
    us.put(record, price=5, version=1)
    for stale in (1, 3, 2147483647):
        told = problem(us.put(record, price=6, version=stale, if_match='"us:9"'), 409, "Conflict: version mismatch")
        assert (told["current_version"], told["current_etag"]) == (2, '"us:2"')


def test_a_failed_if_match_is_412(us, record):
    told = problem(us.put(record, price=6, version=1, if_match='"us:9"'), 412)
    assert (told["current_version"], told["current_etag"]) == (1, '"us:1"')


def test_no_lock_where_one_is_required_is_428(us, record):
    problem(us.put(record, price=6), 428)
    problem(us.delete(record), 428)
    assert us.read(record).json["version"] == 1


def test_a_refused_request_does_not_use_up_its_id(us, record):
    request_id = new_id()
    problem(us.put(record, price=6, version=9, request_id=request_id), 409)
    problem(us.put(record, price="x", version=1, request_id=request_id), 400)
    problem(us.put(999999998, price=6, version=1, request_id=request_id), 404)
    assert us.put(record, price=6, version=1, request_id=request_id).status == 200


def test_of_many_parallel_writes_with_one_version_exactly_one_is_accepted(us, record):
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(us.put(record, price=n, version=1))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [200] + [409] * 11
    winner = next(a for a in answers if a.status == 200)
    assert us.read(record).body == winner.body


def test_of_many_parallel_sendings_of_one_request_exactly_one_is_executed(us, record):
    request_id = new_id()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(us.put(record, price=7, version=1, request_id=request_id)))
               for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers].count(200) == 1
    assert {a.status for a in answers} <= {200, 409, 422}
    assert us.read(record).json["version"] == 2


# POST.


def test_post_takes_an_id_of_the_regions_range_and_says_where_it_is(stack, us, eu):
    ids = {}
    for region, client in (("us", us), ("eu", eu)):
        answer = client.post(price=Decimal("12.50"), bedrooms=1)
        assert answer.status == 201, answer
        ids[region] = answer.json["id"]
        assert answer.headers["location"] == f"/{region}/properties/{ids[region]}"
        assert answer.etag == f'"{region}:1"'
        assert client.get(answer.headers["location"]).body == answer.body
    assert 10**12 < ids["us"] < 2 * 10**12 < ids["eu"] < 3 * 10**12


def test_post_under_another_regions_prefix_uses_the_answering_regions_range(eu):
    answer = eu.request("POST", "/us/properties", {"price": 1}, new_id())
    assert answer.status == 201
    assert answer.json["id"] > 2 * 10**12
    assert answer.json["region_origin"] == "eu"
    assert answer.headers["location"] == f"/us/properties/{answer.json['id']}"


def test_post_with_an_id_that_exists_is_409(us, record):
    told = problem(us.post(id=record, price=1), 409)
    assert (told["current_version"], told["current_etag"]) == (1, '"us:1"')


def test_post_lists_what_is_missing_and_wrong(us):
    assert pointers(problem(us.post(bedrooms=1), 400)) == ["/price"]
    assert pointers(problem(us.post(bedrooms=101, id=0), 400)) == ["/bedrooms", "/id", "/price"]


def test_post_over_a_tombstone_continues_its_version(us, record):
    assert us.delete(record, version=1).status == 204
    answer = us.post(id=record, price=Decimal("7.00"))
    assert (answer.status, answer.json["version"], answer.etag) == (201, 3, '"us:3"')
    assert us.read(record).json["bedrooms"] is None


# DELETE.


def test_delete_leaves_a_tombstone(stack, us, record):
    answer = us.delete(record, version=1)
    assert (answer.status, answer.body) == (204, b"")
    problem(us.read(record), 404, "Property not found")
    problem(us.put(record, price=5, version=2), 404, "Property not found")
    problem(us.delete(record, version=2), 404, "Property not found")
    row = stack.database("us").property(record)
    assert row["deleted"] and row["version"] == 2


def test_delete_is_locked_by_version_or_if_match(us, record):
    problem(us.delete(record, version=2), 409, "Conflict: version mismatch")
    problem(us.delete(record, if_match='"us:2"'), 412)
    assert us.delete(record, if_match='"us:1"').status == 204


@pytest.mark.parametrize("version", ["x", "1.5", "0", "99999999999", ""])
def test_delete_with_an_invalid_version_is_400(us, record, version):
    problem(us.delete(record, version=version), 400)


def test_a_repeated_delete_is_422(us, record):
    request_id = new_id()
    assert us.delete(record, version=1, request_id=request_id).status == 204
    problem(us.delete(record, version=1, request_id=request_id), 422, "Duplicate request")


# Lists.


def listed(answer):
    """The records of a list response."""
    assert answer.status == 200, answer
    told = answer.json
    return told if isinstance(told, list) else told["properties"]


def next_of(answer):
    match = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
    return match and match.group(1)


def test_a_list_is_walked_by_its_next_links(stack, us):
    made = [stack.new_record(price=f"{n}.50", everywhere=False) for n in range(7)]
    path, seen, pages = f"/us/properties?limit=3&after={made[0] - 1}", [], 0
    while path:
        answer = us.get(path)
        page = listed(answer)
        assert len(page) <= 3
        seen += [r["id"] for r in page if r["id"] in made]
        pages += 1
        path = next_of(answer) if page[-1]["id"] < made[-1] else None
    assert seen == made
    assert pages >= 3


def test_the_last_page_has_no_next_link(stack, us):
    us.post(price=1)
    ids = [row[0] for row in stack.database("us").rows(
        "SELECT id FROM properties WHERE deleted_at IS NULL ORDER BY id DESC LIMIT 2")]
    answer = us.get(f"/us/properties?limit=1&after={ids[0] - 1}")
    assert [r["id"] for r in listed(answer)] == [ids[0]]
    assert next_of(answer) is None
    assert next_of(us.get(f"/us/properties?limit=1&after={ids[1] - 1}"))


def test_a_list_is_filtered_by_bounds_of_fields(stack, us):
    made = [stack.new_record(price=p, bedrooms=b, everywhere=False) for p, b in (("5.00", 1), ("50.00", 2), ("500.00", 3))]
    after = f"after={made[0] - 1}&limit=500"

    def ids(query):
        return [r["id"] for r in listed(us.get(f"/us/properties?{after}&{query}")) if r["id"] in made]
    assert ids("min_price=50") == made[1:]
    assert ids("max_price=50.00") == made[:2]
    assert ids("min_price=6&max_price=499.99") == [made[1]]
    assert ids("bedrooms=3") == [made[2]]


def test_a_list_has_no_tombstones(stack, us, record):
    us.delete(record, version=1)
    assert record not in [r["id"] for r in listed(us.get(f"/us/properties?after={record - 1}&limit=5"))]


def test_a_price_that_is_not_a_number_in_the_database_is_null(stack, us, record):
    database = stack.database("us")
    database.execute("UPDATE properties SET price = 'NaN' WHERE id = %s", record)
    try:
        assert us.read(record).json["price"] is None
        assert [(r["id"], r["price"]) for r in listed(us.get(f"/us/properties?after={record - 1}&limit=1"))] == [(record, None)]
    finally:
        database.execute("UPDATE properties SET price = 100 WHERE id = %s", record)  # the value in the other region


@pytest.mark.parametrize("query", ["limit=501", "limit=0", "limit=x", "after=x", "min_price=cheap", "min_colour=1", "colour=red"])
def test_a_list_with_a_wrong_parameter_is_400(us, query):
    problem(us.get(f"/us/properties?{query}"), 400)


# Lag and metrics.


def test_lag_is_a_number_and_names_the_origins(stack, front):
    for region, other in (("us", "eu"), ("eu", "us")):
        answer = front.get(f"/{region}/replication-lag")
        assert answer.status == 200
        told = answer.json
        assert isinstance(told["lag_seconds"], (int, Decimal)) and told["lag_seconds"] >= 0
        assert isinstance(told["events_behind"], int) and told["events_behind"] >= 0
        assert isinstance(told["origins"][other], dict)


SAMPLE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)*\})? [-+0-9.eEInfNa]+$')


def test_metrics_are_prometheus_text_and_every_one_is_explained(stack, us):
    us.get("/health")
    answer = stack.plistd["us"].operators.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    helped, typed = set(), {}
    for line in answer.text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            typed[line.split(" ")[2]] = line.split(" ")[3]
        else:
            assert SAMPLE.match(line), line
            name = re.split(r"[{ ]", line)[0]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            family = name if name in typed else base
            assert family in helped and family in typed, line
            assert (typed[family] == "counter") <= name.endswith("_total"), line
    assert typed


# Requests that libmicrohttpd accepts and plist refuses.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /us/properties/1%00x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /us/properties/1%0d%0aX:y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /us/properties/1 HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"PUT /us/properties/1 HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nul-in-path", "line-end-in-path", "two-lengths", "length-and-chunked", "lower-case-method"])
def test_a_request_that_could_be_read_in_two_ways_is_400_and_the_connection_is_closed(us, head):
    received = us.raw(head, timeout=5)
    assert received.startswith(b"HTTP/1.1 400 "), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in received.lower()


def test_answers_are_json_that_any_parser_takes(us, record):
    assert json.loads(us.read(record).text)["price"] == 100.0
