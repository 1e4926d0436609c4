"""Random failures under load: clients write in all regions, and some send a request to two regions, while servers are
killed, stopped and frozen in random order. Then all servers are restored, and the regions are compared with each other
and with the responses that the clients got.

PLIST_CHAOS_SEED sets the seed, which is printed; PLIST_CHAOS_SECONDS the length of a round; PLIST_CHAOS_ROUNDS the number
of rounds, each with the next seed. A seed determines the order of failures, but not their exact timing.
"""

import json
import os
import random
import threading
import time

import pytest

from support.client import new_id
from support.load import Load

RECORDS = 16


def vector_of(etag):
    """'"eu:1+us:2"' as a dictionary."""
    return {region: int(count) for region, count in (dot.split(":") for dot in etag.strip('"').split("+"))}


class TwiceLoad(Load):
    """Each client writes in one region and sometimes sends the request to another region at the same time, as a retry
    would. The entity tags of all answered writes are kept."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.etags = []  # (record id, vector)
        self.twice = 0

    def _send(self, client, record_id, method, body, query=""):
        other = random.choice(self.clients)
        if other is client or random.random() > 0.15:
            super()._send(client, record_id, method, body, query)
            return
        request_id, path = new_id(), client.path(None if method == "POST" else record_id) + query
        both = [threading.Thread(target=self._insist, args=(c, method, path, body, request_id, record_id)) for c in (client, other)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    def _note(self, answer, request_id, record_id):
        super()._note(answer, request_id, record_id)
        if answer.status in (200, 201, 204) and answer.etag:
            with self._lock:
                self.etags.append((record_id, vector_of(answer.etag)))


class Disorder:
    """Servers are interrupted and restored at random, at most two at a time. The main thread starts them."""

    def __init__(self, servers, seed):
        self.servers, self.chance = servers, random.Random(seed)
        self.away = {}  # server: (how, until when)
        self.told = []

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._bring_back(time.monotonic())
            if len(self.away) < 2:
                self._interrupt()
            time.sleep(self.chance.uniform(0.05, 1.2))
        self._bring_back(float("inf"))

    def _interrupt(self):
        server = self.chance.choice(self.servers)
        how = self.chance.choice(("kill", "kill", "stop", "pause", "pause"))
        length = self.chance.choice((0, 0.3, 1, 2, 5))
        if server in self.away:
            return
        self.told.append(f"{server.name} {how} {length} s")
        getattr(server, how)()
        self.away[server] = (how, time.monotonic() + length)

    def _bring_back(self, now):
        for server, (how, until) in list(self.away.items()):
            if until <= now:
                if how == "pause":
                    server.resume()
                else:
                    server.launch()
                del self.away[server]
        for server in self.servers:
            if server not in self.away:
                assert server.running, f"{server.name} ended by itself after {self.told}:\n{server.log_tail()}"


SIBLINGS = ("SELECT record_id, origin, counter, vector::text, updated_at, deleted, fields::text, field_times::text, request_id "
            "FROM record_siblings WHERE record_id = ANY(%s) ORDER BY 1, 2, 3")
REMEMBERED = ("SELECT request_id, principal, encode(fingerprint, 'hex'), resource, record_id, dots::text, expires_at::date "
              "FROM processed_requests WHERE record_id = ANY(%s) ORDER BY 1, 2")


def why_500(stack, load):
    """What the daemons' logs say about the first requests that were answered 500."""
    ids = [json.loads(body)["instance"].rpartition(":")[2] for body in list(load.faults)[:3]]
    return [line for server in stack.plistd.values() for line in server.log_text().splitlines() if any(i in line for i in ids)] or ids


def check_everything(stack, load, records, dead_before):
    stack.check_consistent(90)
    assert load.accepted and not load.faults, (why_500(stack, load), load.statuses, load.errors)
    first = stack.regions[0]
    for region, database in stack.databases.items():
        for what, query in (("siblings", SIBLINGS), ("remembered requests", REMEMBERED)):
            here, there = set(database.rows(query, records)), set(stack.database(first).rows(query, records))
            assert here == there, f"{what}: only {region} {sorted(map(str, here - there))[:3]}; only {first} {sorted(map(str, there - here))[:3]}"
        known = {row[0] for row in database.rows("SELECT request_id FROM processed_requests WHERE record_id = ANY(%s)", records)}
        assert not load.accepted.keys() - known, f"{region} does not know {sorted(load.accepted.keys() - known)[:3]}"
        vectors = dict(database.rows("SELECT id, vector FROM properties WHERE id = ANY(%s)", records))
        for record, vector in load.etags:
            assert all(vectors[record].get(r, 0) >= n for r, n in vector.items()), f"{region}: {record} {vectors[record]} lacks {vector}"
        for record, version, executed in database.rows(
                "SELECT p.id, p.version, (SELECT sum(n) FROM processed_requests q, LATERAL (SELECT count(*) AS n FROM "
                "jsonb_object_keys(q.dots)) AS d WHERE q.record_id = p.id) FROM properties p WHERE p.id = ANY(%s)", records):
            assert version == executed, f"{region}: record {record} has version {version} after {executed} executions"
        flagged = {row[0] for row in database.rows("SELECT id FROM properties WHERE has_siblings AND id = ANY(%s)", records)}
        standing = {row[0] for row in database.rows("SELECT DISTINCT record_id FROM record_siblings WHERE record_id = ANY(%s)", records)}
        assert flagged == standing, f"{region}: flags {flagged ^ standing}"
        opened = {row[0] for row in database.rows("SELECT record_id FROM conflicts WHERE closed_at IS NULL AND record_id = ANY(%s)", records)}
        assert opened <= flagged, f"{region}: conflicts of {opened - flagged} stay open"
        assert database.value("SELECT count(*) FROM dead_letters") == dead_before[region]


def chaos(stack, seed, seconds, more):
    print(f"PLIST_CHAOS_SEED={seed} PLIST_CHAOS_SECONDS={seconds:g}")
    records = [stack.new_record(everywhere=False) for _ in range(RECORDS)]
    dead = {r: d.value("SELECT count(*) FROM dead_letters") for r, d in stack.databases.items()}
    disorder = Disorder([stack.broker, *stack.postgres.values(), *stack.plistd.values(), *more], seed)
    clients = [server.client for server in (*stack.plistd.values(), *more)]
    with TwiceLoad(clients, records, threads=2 * len(clients), seed=seed, deletes=True) as load:
        disorder.run(seconds)
        for server in disorder.servers:
            server.wait_up()
        load.wait_accepted(40)
    check_everything(stack, load, records, dead)
    met = stack.database("us").value("SELECT count(*) FROM conflicts WHERE record_id = ANY(%s)", records)
    twins = stack.database("us").value("SELECT count(*) FROM processed_requests WHERE record_id = ANY(%s) AND "
                                       "(SELECT count(*) FROM jsonb_object_keys(dots)) > 1", records)
    print(f"{len(load.accepted)} accepted, {met} conflicts, {twins} twins; {dict(load.statuses)}; {'; '.join(disorder.told)}")
    for server in (*stack.plistd.values(), *more):
        server.wait_ready()


def rounds(stack, more=()):
    first = int(os.environ.get("PLIST_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    for seed in range(first, first + int(os.environ.get("PLIST_CHAOS_ROUNDS") or 1)):
        chaos(stack, seed, float(os.environ.get("PLIST_CHAOS_SECONDS") or 12), more)


@pytest.mark.needs_kafka
def test_two_regions_end_equal_whatever_ends_and_freezes(stack):
    second = stack.second_daemon("us")
    try:
        second.start()
        second.wait_ready()
        rounds(stack, [second])
    finally:
        second.stop()


@pytest.mark.needs_kafka
@pytest.mark.parametrize("policy", ["last_writer_wins", "highest_price"])
def test_three_regions_end_equal_whatever_ends_and_freezes(stack3, policy):
    stack3.reload_policy(lambda config: config["resources"]["properties"].update(policy=f"policies/{policy}.lua"))
    rounds(stack3)
