"""How NGINX connects to a daemon on its machine: by its UNIX socket, as in the rest of the benchmark, or by its port."""

from references import run_sql
from rounds import level_again
from studies import compare


def measure(bench, say):
    stack = bench.stack
    rates = {}

    def reach(by_socket):
        stack.write_config(None if by_socket else lambda config: config["nginx"].pop("local_regions"))
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
    compare.add_table(bench, say, "From NGINX to a daemon on its machine, 64 connections", {False: "port", True: "socket"}, rates)
