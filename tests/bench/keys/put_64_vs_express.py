"""Writes per second against the same application in Express, at its best number of processes and connections."""

from keys import Key
from references import Express, install_express, run_sql
from rounds import alone, fresh, put_64

KEY = Key("PUT/s, 64 connections", "Express 5 + pg + kafkajs, its best configuration", 6, 15)


def rate(stack, server, seconds):
    run_sql(server.database_url, "TRUNCATE processed_requests, outbox")
    run_sql(server.database_url, "UPDATE properties SET version = 1")
    run_sql(server.database_url, "VACUUM ANALYZE")
    books = stack.load_fresh(server.port, seconds)
    return books["ok_rate"], books


def best_configuration(bench, say, modules, seconds):
    stack, rates = bench.stack, {}
    for workers, pool in ((1, 16), (2, 8), (2, 16)):
        folder = bench.folder / f"express-{workers}-{pool}"
        server = Express(folder, stack.postgres["us"], stack.broker, modules, workers, pool).start()
        rates[workers, pool] = rate(stack, server, seconds)[0]
        server.stop()
    best = max(rates, key=rates.get)
    listed = {f"{w}×{p}": round(r) for (w, p), r in rates.items()}
    say(f"  Express: processes × pool → PUT/s: {listed}; best {best[0]}×{best[1]}")
    return best


def measure(bench, say):
    stack = bench.stack
    seconds = 1.5 if bench.quick else bench.seconds
    modules = install_express(bench.state / "express")
    Express.make_database(stack.postgres["us"])
    best = best_configuration(bench, say, modules, seconds)
    for _ in alone(bench, range(bench.rounds), prepare=fresh):
        server = Express(bench.folder / "express-best", stack.postgres["us"], None, modules, *best).start()
        reference = bench.sample("Express (without its relay, as plist)", lambda s=server: rate(stack, s, seconds))
        server.stop()
        bench.figure("put_64_vs_express").add(put_64(bench, seconds), reference)
