"""Retries in another region get the same response, whatever the handler answered and whichever region executed the request."""

import shutil
from decimal import Decimal

import pytest

from support import places
from support.client import new_id
from support.process import wait_until

HEAD = ("local http, records = require 'plist.http', require 'plist.records'\n"
        "return { handle = function(req)\n"
        "  local r, e = records.update('properties', req.params.id, { price = 5 })\n"
        "  if not r then return http.problem(e) end\n"
        "  %s\nend }\n")

ANSWERS = {
    "custom": ("return http.status(202, { b = 1, aa = r.price }, { ['X-Custom'] = 'one', Location = '/there' })", 202),
    "text": ("return http.status(200, 'plain \\xe2\\x82\\xac', { ['Content-Type'] = 'text/plain', ETag = '\"own\"' })", 200),
    "bytes": ("return http.status(200, '\\0\\1\\255', { ['Content-Type'] = 'application/octet-stream' })", 200),
    "refuses": ("return http.problem(409, 'No', 'because', { more = { 1, 2 } })", 409),
    "record": ("return http.ok(r, { ['X-Custom'] = 'two' })", 200),
    "empty": ("return http.no_content { ['X-Custom'] = 'three' }", 204),
    "raises": ("error('after the write')", 200),
    "large": ("return http.ok(('x'):rep(70000))", 200),
}

ROUTES = {"replay": {"on_duplicate": "replay"}, "reject": {"on_duplicate": "reject"},
          "key": {"on_duplicate": "replay", "header": "Idempotency-Key"}}

# Headers of one response; X-Request-ID is generated where the client sends only an
# Idempotency-Key.
PER_RESPONSE = ("date", "idempotent-replayed", "plist-session", "x-plist-region", "x-request-id")


@pytest.fixture
def answering(stack, tmp_path):
    """Both regions with the handlers of ANSWERS."""
    root = tmp_path / "lua"
    shutil.copytree(places.source() / "lua", root)

    def change(config):
        config["lua"]["path"] = str(root)
        for name, (text, _) in ANSWERS.items():
            (root / "handlers" / f"w_{name}.lua").write_text(HEAD % text)
            for rule, idempotency in ROUTES.items():
                config["routes"].append({"method": "POST", "path": f"/:region/{rule}/{name}/:id", "handler": f"handlers/w_{name}.lua",
                                         "resource": "properties", "lock": "none", "idempotency": dict(idempotency)})
    stack.reload(change)
    return stack


def replaying(stack):
    stack.reload(lambda config: [r["idempotency"].update(on_duplicate="replay") for r in config["routes"] if "idempotency" in r])


def passed_on(answer):
    return {k: v for k, v in answer.headers.items() if k not in PER_RESPONSE}


def same(first, again):
    return (again.status, again.body, passed_on(again)) == (first.status, first.body, passed_on(first))


def remembers(stack, region, request_id):
    return stack.database(region).remembered(request_id)


def test_a_retry_in_the_other_region_gets_the_first_response_byte_for_byte(answering, us, eu):
    """An event carries the headers, status and body of a handler's own answer to the other regions."""
    record = answering.new_record()
    for rule, header in (("replay", "X-Request-ID"), ("key", "Idempotency-Key")):
        asked = {name: (f"/us/{rule}/{name}/{record}", {header: new_id()}) for name in ANSWERS if name != "large"}
        first = {name: us.request("POST", path, {}, headers=key) for name, (path, key) in asked.items()}
        # The answer may follow its write in another batch.
        answering.settle()
        for name, (path, key) in asked.items():
            assert first[name].status == ANSWERS[name][1], (name, first[name])
            assert remembers(answering, "eu", key[header])
            again = eu.request("POST", path, {}, headers=key)
            assert passed_on(again) == passed_on(first[name]), name
            assert same(first[name], again), (name, first[name], again)
            assert (again.headers["idempotent-replayed"], again.region) == ("true", "eu")
    answering.check_consistent()


def test_an_answer_too_large_for_an_event_is_repeated_only_where_it_is(answering, us, eu):
    record = answering.new_record()
    request_id = new_id()
    first = us.request("POST", f"/us/replay/large/{record}", {}, request_id)
    assert (first.status, len(first.body)) == (200, 70002)
    wait_until("eu has received the answer", lambda: "bytes" in str(remembers(answering, "eu", request_id)))
    refused = eu.request("POST", f"/us/replay/large/{record}", {}, request_id)
    assert (refused.status, refused.json["title"]) == (422, "Duplicate request")
    assert "answered 200 with 70" in refused.json["detail"] and "Only region us can repeat" in refused.json["detail"]
    assert same(first, us.request("POST", f"/us/replay/large/{record}", {}, request_id))
    assert answering.database("eu").property(record)["version"] == 2


def test_the_other_region_rejects_a_retry_of_a_request_with_an_own_answer(answering, us, eu):
    record = answering.new_record()
    request_id = new_id()
    assert us.request("POST", f"/us/reject/custom/{record}", {}, request_id).status == 202
    wait_until("eu remembers the request", lambda: remembers(answering, "eu", request_id))
    again = eu.request("POST", f"/us/reject/custom/{record}", {}, request_id)
    assert (again.status, again.json["title"]) == (422, "Duplicate request")


@pytest.mark.parametrize("executing", ["us", "eu"])
def test_the_location_of_a_create_is_the_first_one_in_every_region(stack, executing):
    """It names the region in the path, which is not always the one that executed the request."""
    replaying(stack)
    other = {"us": "eu", "eu": "us"}[executing]
    for prefix in ("us", "eu"):
        request_id = new_id()
        arguments = ("POST", f"/{prefix}/properties", {"price": Decimal("5.00")}, request_id)
        first = stack.client(executing).request(*arguments)
        assert first.status == 201 and first.headers["location"].startswith(f"/{prefix}/")
        wait_until("the other region remembers it", lambda r=request_id: remembers(stack, other, r))
        again = stack.client(other).request(*arguments)
        assert same(first, again), (first.headers, again.headers)


def test_both_regions_repeat_one_answer_of_a_request_that_both_executed(answering, us, eu):
    record = answering.new_record()
    request_id = new_id()
    path = f"/us/replay/custom/{record}"
    answering.broker.pause()
    try:
        firsts = {client.region: client.request("POST", path, {}, request_id) for client in (us, eu)}
        assert [a.status for a in firsts.values()] == [202, 202]
    finally:
        answering.broker.resume()
    for region in ("us", "eu"):
        wait_until(f"{region} knows both executions", lambda r=region: len(remembers(answering, r, request_id)["dots"]) == 2)
    wait_until("us has eu's answer", lambda: same(firsts["eu"], us.request("POST", path, {}, request_id)))
    assert same(firsts["eu"], eu.request("POST", path, {}, request_id))
    answering.check_consistent()


def test_a_republished_request_brings_its_answer(answering, us, eu):
    record = answering.new_record()
    request_id = new_id()
    path = f"/us/replay/custom/{record}"
    first = us.request("POST", path, {}, request_id)
    wait_until("eu remembers the request", lambda: remembers(answering, "eu", request_id))
    answering.database("eu").execute("DELETE FROM processed_requests WHERE request_id = %s", request_id)
    assert answering.admin("republish", "properties", "--from", "us", "--ids", str(record)).returncode == 0
    wait_until("eu remembers it again", lambda: remembers(answering, "eu", request_id))
    wait_until("eu gives the first answer", lambda: same(first, eu.request("POST", path, {}, request_id)))
