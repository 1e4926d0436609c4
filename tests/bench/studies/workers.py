"""One worker and two workers, in turns, each turn with its own daemons."""

from references import run_sql
from rounds import level_again
from studies import compare


def measure(bench, say):
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
    compare.add_table(bench, say, "Workers, 64 connections, on this machine's cores", {1: "one", 2: "two"}, rates)
