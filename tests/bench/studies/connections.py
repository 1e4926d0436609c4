"""How throughput and latency depend on the number of connections, directly and through NGINX."""

from references import run_sql
from rounds import level_again


def measure(bench, say):
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
    bench.table("PUT and GET over connections",
                         ("mode", "way", "connections", "ok/s", "p50 µs", "p99 µs", "max µs", "daemon µs/req", "daemon MiB"), rows)
    level_again(bench)
