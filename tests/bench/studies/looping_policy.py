"""The cost of a policy that loops for some writes to other writes, which travel from us to eu at 500/s."""

import shutil
import threading
from contextlib import contextmanager

from measure import median
from references import run_sql
from rounds import commit_gaps
from support import places

# Loops for a price that no check tries, since the file does not contain it as a number.
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
TITLE = "What a policy that loops for some writes costs the others (us to eu at 500/s, alone and beside it; ms)"


@contextmanager
def overruns(stack, per_second):
    """A block in which both regions keep writing the looping price to the same records at the same time."""
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


def measure(bench, say):
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
    bench.table("What a policy that loops for some writes costs the others (us to eu at 500/s, alone and beside it; ms)",
                         ("p50 alone", "p50 beside", "ratio", "p99 alone", "p99 beside", "max beside", "overruns", "CPU ms each"), rows)
