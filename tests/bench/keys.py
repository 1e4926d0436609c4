"""The keys of bench.json: what each is, over what, and how it is measured."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import psycopg2
import psycopg2.extras

import costs
from measure import Figure, Sample, median
from references import Express, LogicalReplication, arrivals, install_express, run_sql, settle
from support import places
from support.plistd import admin
from support.process import wait_until

#       key: (what, over, must, aim, lower is better)
KEYS = {
    "put_64": ("PUT/s, 64 connections, Lua handler", "pgbench, the same write, best client count", 2.0, 3.0, False),
    "put_64_vs_batch": ("PUT/s, 64 connections", "direct libpq, the same statement, 32 rows a batch, over one connection as the product's", 0.5, 0.8, False),
    "put_1_p50": ("µs of a PUT at one connection, median", "pgbench -c 1, the same write, µs, median", 1.25, 1.0, True),
    "put_64_nginx": ("PUT/s through NGINX", "pgbench, best client count", 1.3, 2.0, False),
    "get_64": ("GET/s, 64 connections, Lua handler", "pgbench SELECT by key, best client count", 1.1, 1.9, False),
    "put_64_vs_express": ("PUT/s, 64 connections", "Express 5 + pg + kafkajs, its best configuration", 6, 15, False),
    "apply": ("events/s from a full topic, siblings and Lua for 10 %", "logical replication of small transactions", 1.2, 2.4, False),
    "relay_drain": ("events/s of a full outbox into Kafka", "put_64", 1.5, 4, False),
    "put_64_relay": ("PUT/s while the relay publishes", "put_64", 0.6, 0.8, False),
    "full_chain": ("PUT/s that both regions, Kafka and NGINX sustain", "pgbench, best client count", 0.7, 1.5, False),
    "e2e_p50": ("µs from commit in us to commit in eu at 500/s", "logical replication, µs", 10, 4, True),
    "put_64_1m": ("PUT/s at a million rows", "put_64", 0.85, 1.0, False),
    "hot_record": ("PUT/s that succeed on one id, 64 connections", "pgbench on one row, best client count", 1.0, 0, False),
}


def figure(key):
    what, over, must, aim, lower = KEYS[key]
    return Figure(key, what, over, must, aim, lower)


def measure_all(bench, say):
    for measure, names in (
            (writes, ("put_64", "put_64_vs_batch", "put_1_p50", "hot_record", "get_64")),
            (nginx_writes, ("put_64_nginx",)),
            (express, ("put_64_vs_express",)),
            (relay, ("put_64_relay", "relay_drain")),
            (chain, ("full_chain",)),
            (end_to_end, ("e2e_p50",)),
            (looping_policy, ("e2e_p50",)),
            (apply, ("apply",)),
            (million, ("put_64_1m",)),
            (connections, ("put_64",)),
            (where_the_time_goes, ("put_64", "get_64")),
            (workers, ("put_64",)),
            (nginx_ways, ("put_64_nginx",)),
            (idle_connections, ("put_64",))):
        if bench.wanted(*names) and not (bench.quick and measure in (looping_policy, connections, workers, nginx_ways, idle_connections)):
            say(f"{measure.__name__}: {', '.join(names)}")
            measure(bench, say)


def best_clients(bench, script):
    """pgbench's best client count for a script, looked for once a run."""
    cache = bench.__dict__.setdefault("best", {})
    if script not in cache:
        cache[script] = bench.pgbench.best_clients(script, bench.turn_seconds)[0]
    return cache[script]


def pgbench_rate(bench, script, seconds=None):
    clients = best_clients(bench, script)
    return bench.sample(f"pgbench {script}, {clients} clients", lambda: bench.pgbench.rate(script, clients, seconds or bench.turn_seconds))


def put_64(bench, seconds=None):
    return bench.sample("put_64", lambda: bench.stack.put_rate(seconds=seconds or bench.seconds))


def fresh(bench):
    bench.pgbench.tidy()
    bench.stack.tidy()


def fresh_beside_pgbench(bench):
    fresh(bench)
    bench.pgbench.warm_up()


def first_over(turns, *names):
    """Rows of a table: each reference's median, and the subject's over it. A turn is the subject's figure and one for each name."""
    return [(name, f"{median(turn[i] for turn in turns):,.0f}", f"{median(turn[0] / turn[i] for turn in turns):.2f}")
            for i, name in enumerate(names, 1)]


def writes(bench, say):
    """One region alone: nothing is published, as nothing is by pgbench."""
    stack = bench.stack
    straight = []  # PUT/s, and what is sent straight over one connection and over two
    with stack.relay_held("us"):
        for turn in bench.turns_within(40):
            run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
            fresh_beside_pgbench(bench)
            if bench.wanted("put_64", "put_64_vs_batch"):
                direct = [lambda: direct_sample(bench, 1), lambda: direct_sample(bench, 2)] if bench.wanted("put_64_vs_batch") else []
                reference, subject, *batches = bench.turn(turn, lambda: pgbench_rate(bench, "put.sql"),
                                                          lambda: put_64(bench, bench.turn_seconds), *direct)
                bench.figure("put_64").add(subject, reference)
                if batches:
                    bench.figure("put_64_vs_batch").add(subject, batches[0])
                    straight.append((subject.value, batches[0].value, batches[1].value))
            if bench.wanted("put_1_p50"):
                bench.figure("put_1_p50").add(*bench.turn(turn, lambda: bench.sample("put_1, µs", lambda: put_1(bench)),
                    lambda: bench.sample("pgbench -c 1, µs", lambda: bench.pgbench.median_latency("put.sql", bench.turn_seconds))))
            if bench.wanted("hot_record"):
                bench.figure("hot_record").add(*bench.turn(turn,
                    lambda: bench.sample("hot_record", lambda: stack.put_rate(mode="hot", ids=(1, 1), seconds=bench.turn_seconds)),
                    lambda: pgbench_rate(bench, "put_one_row.sql")))
            if bench.wanted("get_64"):
                bench.figure("get_64").add(*bench.turn(turn,
                    lambda: bench.sample("get_64", lambda: stack.put_rate(mode="get", seconds=bench.turn_seconds)),
                    lambda: pgbench_rate(bench, "get.sql")))
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    level_again(bench)
    if straight:
        bench.tables.append(("The batch statement sent straight by libpq, 32 rows at a time, and put_64 over it", ("connections", "rows/s", "ratio"),
                             first_over(straight, "1, the key", "2")))


def level_again(bench):
    """The outbox was thrown away, so eu is given us's rows; both begin again from the same."""
    stack = bench.stack
    rows = run_sql(stack.postgres["us"].url, "SELECT id, price, version, region_origin, updated_at, vector::text FROM properties")
    with psycopg2.connect(stack.postgres["eu"].url) as link, link.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, """UPDATE properties p SET price = v.price, version = v.version, region_origin = v.origin,
            updated_at = v.at, vector = v.vector::jsonb FROM (VALUES %s) v(id, price, version, origin, at, vector) WHERE p.id = v.id""", rows, page_size=5000)
    link.close()


def put_1(bench):
    books = bench.stack.load(connections=1, seconds=bench.turn_seconds)
    return books["p50_us"], books


def direct_sample(bench, connections):
    return bench.sample(f"direct batches of 32, connections: {connections}", lambda: direct_rate(bench, connections))


def direct_rate(bench, connections):
    """The product's batch statement sent straight by libpq, 32 rows at a time: what is left of it beside HTTP, Lua and the checks.

    A daemon writes over one connection, whatever its workers, and so does the key's reference. Two keep the database at work on two processors, of
    which a service needs a part to be asked at all; shown beside, and no key.
    """
    argv = [places.program("tests/bench/plist-direct"), bench.stack.config, "us", bench.turn_seconds, "32", connections]
    books = json.loads(subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True).stdout)
    return books["rate"], books


def nginx_writes(bench, say):
    stack = bench.stack
    with stack.relay_held("us"):
        for turn in bench.turns_within(9):
            run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
            fresh_beside_pgbench(bench)
            bench.figure("put_64_nginx").add(*bench.turn(turn,
                lambda: bench.sample("put_64_nginx", lambda: stack.put_rate(port=stack.nginx.port, seconds=bench.turn_seconds)),
                lambda: pgbench_rate(bench, "put.sql")))
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    level_again(bench)


def express(bench, say):
    stack = bench.stack
    seconds = 1.5 if bench.quick else bench.seconds
    modules = install_express(bench.state / "express")
    Express.make_database(stack.postgres["us"])

    def rate(server):
        run_sql(server.database_url, "TRUNCATE processed_requests, outbox")
        run_sql(server.database_url, "UPDATE properties SET version = 1")
        run_sql(server.database_url, "VACUUM ANALYZE")
        books = stack.load_fresh(server.port, seconds)
        return books["ok_rate"], books

    rates = {}
    for workers, pool in ((1, 16), (2, 8), (2, 16)):
        server = Express(bench.folder / f"express-{workers}-{pool}", stack.postgres["us"], stack.broker, modules, workers, pool).start()
        rates[workers, pool] = rate(server)[0]
        server.stop()
    best = max(rates, key=rates.get)
    say(f"  Express: processes × pool → PUT/s: { {f'{w}×{p}': round(r) for (w, p), r in rates.items()} }; best {best[0]}×{best[1]}")
    with stack.relay_held("us"):
        for _ in range(bench.rounds):
            run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
            fresh(bench)
            server = Express(bench.folder / "express-best", stack.postgres["us"], None, modules, *best).start()
            reference = bench.sample("Express (relay off, as plist's)", lambda: rate(server))
            server.stop()
            bench.figure("put_64_vs_express").add(put_64(bench, seconds), reference)
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    level_again(bench)


def rate_of(what, say, events, seconds):
    say(f"  {what}: {events} events in {seconds:.2f} s: {events / seconds:,.0f}/s")
    return Sample(events / seconds, 0.0, seconds)


def relay(bench, say):
    """The other region is stopped: only us, its database and Kafka work."""
    stack = bench.stack
    stack.plistd["eu"].stop()

    def drained():
        with stack.relay_held("us"):
            alone = put_64(bench)
            events = stack.outbox()
        stack.wait_relay_back()
        begun = time.monotonic()
        stack.wait_outbox_empty()
        bench.figure("relay_drain").add(rate_of("relay_drain", say, events, time.monotonic() - begun), alone)
        return alone

    def relayed():
        subject = bench.sample("put_64_relay", lambda: stack.put_rate(seconds=bench.seconds))
        stack.wait_outbox_empty()
        return subject

    for turn in range(bench.rounds):
        fresh(bench)
        if bench.wanted("put_64_relay"):
            bench.figure("put_64_relay").add(*bench.turn(turn, relayed, drained))
        else:
            drained()
    stack.plistd["eu"].start()
    stack.plistd["eu"].wait_ready()
    stack.wait_level()


def chain(bench, say):
    """The highest rate through NGINX at which, while all works at once, the other region does not fall behind."""
    stack = bench.stack
    for _ in range(max(1, bench.rounds // 2)):
        fresh_beside_pgbench(bench)
        reference = pgbench_rate(bench, "put.sql", bench.seconds)
        subject = bench.sample("full_chain", lambda: (sustained(bench, reference.value, say), {}))
        bench.figure("full_chain").add(subject, reference)


def holds(bench, rate):
    """Whether at this rate eu, when the load ends, is less than a fifth of a second of it behind, and the rate was really kept."""
    stack = bench.stack
    books = stack.load(port=stack.nginx.port, seconds=bench.seconds, rate=rate)
    total = lambda r: run_sql(stack.postgres[r].url, "SELECT sum(version) FROM properties")[0][0]  # noqa: E731
    behind = int(total("us") - total("eu"))
    stack.wait_level()
    return books["ok_rate"] > 0.95 * rate and behind < max(200, rate / 5), books["ok_rate"]


def sustained(bench, reference, say):
    low, high = reference / 4, reference * 2
    for _ in range(5 if bench.quick else 7):
        rate = (low * high) ** 0.5
        kept, seen = holds(bench, rate)
        say(f"    {rate:,.0f}/s: {'kept' if kept else 'not kept'} ({seen:,.0f}/s)")
        low, high = (seen, high) if kept else (low, rate)
        if high / low < 1.05:
            break
    return low


COMMITTED = "pg_xact_commit_timestamp(xmin)"


def commit_gaps(us_url, eu_url, where, arrived=COMMITTED):
    """Per row, µs between its last commit in us, by PostgreSQL's own commit timestamp, and its arrival in eu."""
    sql = "SELECT id, version, extract(epoch from {}) FROM properties WHERE " + where
    eu = {row[0]: row for row in run_sql(eu_url, sql.format(arrived))}
    gaps = sorted(float(eu[i][2] - at) * 1e6 for i, v, at in run_sql(us_url, sql.format(COMMITTED)) if i in eu and eu[i][1] == v)
    if not gaps or gaps[len(gaps) // 2] <= 0:
        raise RuntimeError(f"{len(gaps)} gaps, and their median is {gaps[len(gaps) // 2] if gaps else None} µs: that is no measurement")
    return gaps


def end_to_end(bench, say):
    stack = bench.stack
    us, eu = stack.postgres["us"], stack.postgres["eu"]
    seconds = 1.8  # each of 960 rows is written once, so that its last commit is the one that is timed
    stack.wait_level()
    fresh(bench)
    settle(us.url, eu.url)  # here the disk's patience is all
    logical = LogicalReplication(us, eu, timed=True)
    where = "updated_at > now() - interval '60 s'"
    stack.load(connections=16, seconds=seconds, warmup=0.0, rate=500)  # not counted: the disk is still at what was truncated
    stack.wait_level()
    for turn in range(bench.rounds):
        def reference():
            run_sql(logical.us_url, "UPDATE properties SET updated_at = '2000-01-01'")
            logical.wait_level()
            wait_until("row times", lambda: run_sql(logical.eu_url, "SELECT max(updated_at) < '2001-01-01' FROM properties")[0][0])
            logical.pgbench("-c", "8", "-j", "1", "-R", "500", "-T", "2")
            logical.wait_level()
            gaps = commit_gaps(logical.us_url, logical.eu_url, where, "applied_at")
            return median(gaps), {"n": len(gaps), "p99": gaps[int(len(gaps) * 0.99)]}

        def subject():
            stack.load(connections=16, seconds=seconds, warmup=0.0, rate=500)
            stack.wait_level()
            gaps = commit_gaps(us.url, eu.url, "updated_at > now() - interval '4 s'")
            return median(gaps), {"n": len(gaps), "p99": gaps[int(len(gaps) * 0.99)]}
        bench.figure("e2e_p50").add(*bench.turn(turn, lambda: bench.sample("e2e_p50, µs", subject),
                                                lambda: bench.sample("logical replication, µs", reference)))
    logical.drop()


# A price that no check comes upon, since the file does not name it.
LOOPS = """
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return { name = "loops", doc = "Never ends for one price, 6666.66.", resolve = function(rows)
  for _, row in ipairs(rows) do
    while row.fields.price * 3 == decimal "19999.98" do end
  end
  return policy.take(#rows)
end }
"""
NOISY = range(961, 1001)  # records that the load does not write


@contextmanager
def overruns(stack, per_second):
    """Meanwhile both regions write the looping price to the same records at the same time."""
    stop = threading.Event()

    def write(region, record, barrier):
        client = stack.client(region)
        version = client.read(record).json["version"]
        barrier.wait(10)
        client.put(record, price=6666.66, version=version)

    def run():
        for n in range(1000000):
            if stop.wait(1 / per_second):
                return
            record, barrier = NOISY[n % len(NOISY)], threading.Barrier(2)
            both = [threading.Thread(target=write, args=(r, record, barrier)) for r in stack.regions]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def looping_policy(bench, say):
    """Not a key: what a policy that loops for some writes costs the others, which travel from us to eu at 500/s alone and beside it."""
    stack = bench.stack
    lua = bench.folder / "lua"
    shutil.copytree(places.TOP / "lua", lua, dirs_exist_ok=True)
    (lua / "policies" / "loops.lua").write_text(LOOPS)

    def change(config):
        config["lua"]["path"] = str(lua)
        config["resources"]["properties"]["policy"] = "policies/loops.lua"

    def gaps():
        begun = run_sql(stack.postgres["us"].url, "SELECT clock_timestamp()::text")[0][0]
        stack.load(connections=16, seconds=1.8, warmup=0.0, rate=500)
        stack.wait_level()
        return commit_gaps(stack.postgres["us"].url, stack.postgres["eu"].url, f"id <= 960 AND updated_at > '{begun}'")

    def counted():
        metrics = stack.plistd["eu"].metrics()
        return metrics["plist_policy_errors_total"], metrics["process_cpu_seconds_total"]

    rows = []
    stack.reload_policy(change)
    for _ in range(max(1, bench.rounds // 2)):
        before = counted()
        alone = gaps()
        between = counted()
        with overruns(stack, 10):
            beside = gaps()
        failed, cpu = (now - then for now, then in zip(counted(), between))
        cost = (cpu - (between[1] - before[1])) * 1e3 / max(1, failed)
        rows.append((median(alone) / 1e3, median(beside) / 1e3, median(beside) / median(alone), alone[int(len(alone) * 0.99)] / 1e3,
                     beside[int(len(beside) * 0.99)] / 1e3, beside[-1] / 1e3, int(failed), float(cost)))
        say(f"  a policy that loops: p50 {rows[-1][0]:.1f} ms alone, {rows[-1][1]:.1f} ms beside {int(failed)} overruns of {cost:.0f} ms each")
    stack.reload_policy(None)
    bench.tables.append(("What a policy that loops for some writes costs the others (us to eu at 500/s, alone and beside it; ms)",
                         ("p50 alone", "p50 beside", "ratio", "p99 alone", "p99 beside", "max beside", "overruns", "CPU ms each"), rows))


def apply(bench, say):
    """eu has concurrent writes of its own on a tenth of the records, then finds a full topic from us."""
    stack = bench.stack
    us, eu = stack.postgres["us"], stack.postgres["eu"]
    logical = LogicalReplication(us, eu)
    beside = None if bench.quick else LogicalReplication(us, eu, remembering=True)
    rates = []
    for _ in range(bench.rounds):
        subject = applied(bench, say)
        reference = carried(bench, say, "logical replication", logical)
        bench.figure("apply").add(subject, reference)
        if beside:
            rates.append((subject.value, reference.value, carried(bench, say, "with the remembered requests", beside).value))
    logical.drop()
    if beside:
        beside.drop()
        bench.tables.append(("What logical replication carries, events/s, and apply over it", ("of each write", "events/s", "ratio"),
                             first_over(rates, "the records, the key", "and the remembered requests, as plist does")))


def applied(bench, say):
    stack = bench.stack
    us, eu = stack.postgres["us"], stack.postgres["eu"]
    fresh(bench)
    stack.wait_level()
    stack.tidy("eu")  # here it is the one that is measured
    with stack.relay_held("eu"):
        stack.load(region="eu", connections=16, seconds=0.8, warmup=0, ids=(1, 96), rate=100)
        stack.plistd["eu"].stop()
        stack.load(seconds=bench.seconds)
        stack.wait_outbox_empty("us")
        state = "SELECT sum((vector ->> 'us')::int) FROM properties WHERE id <= 1000"
        wanted = run_sql(us.url, state)[0][0]
        settle(us.url, eu.url)
        subject = rate_of("apply", say, *arrivals(eu.url, state, wanted, stack.plistd["eu"].start))
    stack.wait_level()
    return subject


def carried(bench, say, what, logical):
    logical.resume()  # past what the product has written meanwhile
    logical.wait_level()
    logical.wait_decoded()
    logical.suspend()
    logical.pgbench("-c", "32", "-j", "2", "-t", "1000" if bench.quick else "2000")
    settle(*(postgres.url for postgres in bench.stack.postgres.values()), logical.us_url, logical.eu_url)
    reference = rate_of(what, say, *logical.catch_up())
    logical.suspend()  # or it would read the log beside the next turn
    return reference


def million(bench, say):
    stack = bench.stack
    say("  generating a million rows")
    admin("seed", "--rows", "1000000", config=stack.config, timeout=900)
    low, high = run_sql(stack.postgres["us"].url, "SELECT min(id), max(id) FROM properties WHERE id > 1000")[0]
    for postgres in stack.postgres.values():
        run_sql(postgres.url, "VACUUM ANALYZE properties")
    os.sync()  # what seeding has left to the system to write
    with stack.relay_held("us"):
        for turn in bench.turns_within(9):
            run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
            fresh(bench)
            bench.figure("put_64_1m").add(*bench.turn(turn,
                lambda: bench.sample("put_64_1m", lambda: stack.put_rate(seconds=bench.turn_seconds, ids=(low, high))),
                lambda: put_64(bench, bench.turn_seconds)))
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")


def connections(bench, say):
    """Not a key: how it behaves over the number of connections, direct and through NGINX."""
    stack = bench.stack
    rows = []
    with stack.relay_held("us"):
        for mode in ("put", "get"):
            for way, port in (("direct", stack.plistd["us"].port), ("nginx", stack.nginx.port)):
                for count in (1, 16, 64, 128, 256, 1000):
                    if count > 256 and way == "nginx":
                        continue
                    run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
                    cpu = stack.daemon_cpu()
                    books = stack.load(mode=mode, port=port, connections=count, seconds=bench.turn_seconds, warmup=0.3, ids=(1, 1000))
                    cpu = stack.daemon_cpu() - cpu
                    rows.append((mode, way, count, books["ok_rate"], books["p50_us"], books["p99_us"], float(books["max_us"]),
                                 cpu * 1e6 / max(1, books["requests"]), stack.plistd["us"].resident_bytes() / 2**20))
    bench.tables.append(("PUT and GET over connections",
                         ("mode", "way", "connections", "ok/s", "p50 µs", "p99 µs", "max µs", "daemon µs/req", "daemon MiB"), rows))
    level_again(bench)


def where_the_time_goes(bench, say):
    """Not a key: what the processor does for a request of the product and for pgbench's."""
    stack, seconds, rows = bench.stack, max(1, round(bench.turn_seconds)), []

    def load(mode):
        return lambda: stack.load(mode=mode, seconds=seconds, warmup=0.3)["requests"]

    def pgbench(script):
        clients = best_clients(bench, script)
        return lambda: bench.pgbench.rate(script, clients, seconds)[0] * seconds
    with stack.relay_held("us"):
        for what, run in (("PUT", load("put")), ("pgbench's write", pgbench("put.sql")), ("GET", load("get")), ("pgbench's SELECT", pgbench("get.sql"))):
            fresh_beside_pgbench(bench)
            rows.append((what, *costs.of(stack, run)))
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    level_again(bench)
    bench.tables.append(("Processor time of a request, µs: of each program and of the kernel for it; of all that ran; idle (64 connections)",
                         ("of a", *costs.PARTS), rows))


def workers(bench, say):
    """Not a key: one worker and two, in turns, each turn with daemons of its own."""
    stack = bench.stack
    rates = {}
    for turn in range(4):
        for count in (1, 2) if turn % 2 == 0 else (2, 1):
            stack.restart_daemons(lambda config, n=count: config.setdefault("http", {}).update(workers=n))
            with stack.relay_held("us"):
                run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
                for what, more in (("PUT", {}), ("GET", {"mode": "get"}), ("PUT through NGINX", {"port": stack.nginx.port})):
                    rates.setdefault((what, count), []).append(stack.put_rate(seconds=bench.turn_seconds, **more)[0])
                run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
            level_again(bench)
    stack.restart_daemons()
    compare(bench, say, "Workers, 64 connections, on this machine's cores", {1: "one", 2: "two"}, rates)


def compare(bench, say, title, ways, rates):
    """A table of two ways to do the same: rates[what, way], and `ways` as they are called."""
    first, second = ways
    rows = []
    for what in dict.fromkeys(what for what, _ in rates):
        one, two = median(rates[what, first]), median(rates[what, second])
        say(f"  {what}: {one:,.0f} {ways[first]}, {two:,.0f} {ways[second]}")
        rows.append((what, one, two, two / one))
    bench.tables.append((title, ("what", *ways.values(), "ratio"), rows))


def nginx_ways(bench, say):
    """Not a key: NGINX reaches the daemon by its socket, as in all else that is measured, and by its port, in turns."""
    stack = bench.stack
    rates = {}

    def reach(by_socket):
        stack.write_config(None if by_socket else lambda config: config["nginx"].pop("beside"))
        stack.nginx.reload()

    with stack.relay_held("us"):
        for turn in range(4):
            for by_socket in (True, False) if turn % 2 == 0 else (False, True):
                reach(by_socket)
                run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
                for what, mode in (("PUT", "put"), ("GET", "get")):
                    rate = stack.put_rate(mode=mode, port=stack.nginx.port, seconds=bench.turn_seconds)[0]
                    rates.setdefault((what, by_socket), []).append(rate)
        run_sql(stack.postgres["us"].url, "TRUNCATE outbox")
    reach(True)
    level_again(bench)
    compare(bench, say, "From NGINX to a daemon on its machine, 64 connections", {False: "port", True: "socket"}, rates)


def idle_connections(bench, say):
    """Not a key: what a connection costs that has been answered once and says nothing more."""
    stack = bench.stack
    daemon = stack.plistd["us"]
    daemon.stop()
    daemon.start()
    daemon.wait_ready()
    sockets = []
    try:
        def open_some(n):
            for _ in range(n):
                link = socket.create_connection(("127.0.0.1", daemon.port), 5)
                link.sendall(b"GET /us/properties/1 HTTP/1.1\r\nHost: bench\r\n\r\n")
                if not link.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("a GET was not answered with 200")
                sockets.append(link)
        open_some(50)  # what is there once, whoever comes
        before = daemon.resident_bytes()
        open_some(500)
        each = (daemon.resident_bytes() - before) / 500 / 1024
    finally:
        for link in sockets:
            link.close()
    say(f"  an idle connection: {each:.1f} KiB")
    bench.tables.append(("Memory of an idle connection, of 500", ("KiB each",), [(each,)]))
