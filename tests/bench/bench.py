#!/usr/bin/python3
"""./run bench: how fast plist is, as ratios to programs that anyone can run. Prints a table, writes bench.json and RESULTS.md.

Everything runs on one machine in one run. In each round plist and its reference take turns, so that
drift cancels out. Durability is on everywhere (fsync, synchronous_commit). A sample is marked as noisy if other
programs on the machine were busy meanwhile.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import plan  # noqa: E402
import results  # noqa: E402
from measure import NOISE, Figure, take  # noqa: E402
from references import PgBench, run_sql  # noqa: E402
from subjects import DURABLE, BenchStack  # noqa: E402


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """What all measurements share: the servers, the length of a sample, the number of rounds, the results."""

    def __init__(self, state, quick, only):
        self.begun = time.monotonic()
        self.quick = quick
        self.only = only
        self.rounds = 3 if quick else 7
        self.seconds = 2.0 if quick else 5.0
        # Measurements that need no preparation have more and shorter turns, so that a
        # change in the machine's speed from one half minute to the next affects both
        # sides.
        self.turns = 5 if quick else 15
        self.turn_seconds = 1.0 if quick else 3.0
        self.state = pathlib.Path(state)
        self.folder = self.state / "servers"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o711)
        self.state.chmod(0o711)
        self.stack = BenchStack(self.folder)
        self.pgbench = None
        self.figures = {}
        self.tables = {}  # title: (columns, rows)
        self.best = {}    # pgbench's best client count of a script
        self.notes = {}   # values that a key keeps from turn to turn, by its name

    def wanted(self, *names):
        return not self.only or any(n in self.only for n in names)

    def figure(self, key):
        if key not in self.figures:
            k = plan.KEYS[key]
            self.figures[key] = Figure(key, k.what, k.over, k.must, k.aim, k.lower_is_better)
        return self.figures[key]

    def table(self, title, columns, rows):
        """A table below the keys. One with the same title is replaced."""
        self.tables[title] = (columns, rows)

    def sample(self, what, measure):
        sample = take(measure)
        if sample.noisy and not (self.quick and time.monotonic() > self.begun + 120):  # measure again and use the quieter sample
            sample = min(sample, take(measure), key=lambda s: s.foreign)
        noise = f"  (noisy: {sample.foreign:.2f} cores used by others)" if sample.noisy else ""
        say(f"  {what}: {sample.value:,.0f}{noise}")
        return sample

    def turns_within(self, seconds):
        """All turns. In a quick run on a slow machine, those that begin within `seconds`, but at least three."""
        begun = time.monotonic()
        for turn in range(self.turns):
            if self.quick and turn >= 3 and time.monotonic() > begun + seconds:
                return
            yield turn

    def turn(self, turn, *measures):
        """The samples of both sides, in the order of `measures`. Every second turn runs in reverse order."""
        order = list(enumerate(measures))
        got = {i: measure() for i, measure in (reversed(order) if turn % 2 else order)}
        return [got[i] for i in range(len(measures))]

    def start(self):
        say("starting two PostgreSQL clusters, Kafka, two plistd, NGINX")
        self.stack.start_all()
        self.pgbench = PgBench(self.stack.postgres["us"])

    def stop(self):
        self.stack.stop()


def version(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "not found"


def setting(bench):
    postgres = bench.stack.postgres["us"].url
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    return {
        "machine": f"{os.cpu_count()} cores, {model}, {platform.platform()}",
        "postgresql": run_sql(postgres, "SHOW server_version")[0][0],
        "durability": {name: run_sql(postgres, f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit", "full_page_writes")},
        "settings": DURABLE,
        "command": "./run bench" + (" --quick" if bench.quick else "") + (f" --only {','.join(bench.only)}" if bench.only else ""),
        "nginx_to_daemons": "UNIX sockets (nginx.local_regions)",
        "kafka": next((p.name for p in bench.stack.broker.jars.glob("kafka_2.13-*.jar")), "unknown"),
        "nginx": version("nginx", "-v"), "node": version("node", "--version"), "gcc": version("gcc", "--version"),
        "rounds": bench.rounds, "seconds": bench.seconds, "turns": bench.turns, "turn_seconds": bench.turn_seconds,
        "noisy_above_cores": NOISE, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def print_table(bench):
    print(f"\n{'key':<18}{'value':>12}{'reference':>12}{'ratio':>8}{'spread':>8}{'must':>7}{'aim':>6}  verdict")
    for key, figure in bench.figures.items():
        j = figure.json()
        sign = "≤" if figure.lower_is_better else "≥"
        verdict = ("reached" if figure.reached else "MISSED") + (f", {figure.noisy} noisy samples" if figure.noisy else "")
        print(f"{key:<18}{j['value']:>12,.1f}{j['reference']:>12,.1f}{j['ratio']:>8.2f}{j['spread']:>7.0%} "
              f"{sign}{figure.must:>6}{figure.aim or '–':>6}  {verdict}")
    for title, (head, rows) in bench.tables.items():
        print(f"\n{title}\n" + "".join(f"{h:>16}" for h in head))
        for row in rows:
            print("".join(f"{c:>16,.1f}" if isinstance(c, float) else f"{c!s:>16}" for c in row))
    print()


def options():
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n", 1)[0])
    state = os.environ.get("PLIST_BENCH_FOLDER", str(HERE.parents[1] / ".state" / "bench"))
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about five minutes")
    parser.add_argument("--only", metavar="KEY,…", help="only these keys: " + ", ".join(plan.KEYS) + "; or these studies, even "
                        "with --quick: " + ", ".join(name for name in plan.STUDIES if name not in plan.EARLY.values()))
    parser.add_argument("--remark", metavar="TEXT", help="a sentence about this run for RESULTS.md")
    parser.add_argument("--state", default=state, help="folder for servers and results")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",") if chosen.only else []
    for name in chosen.only:
        if name not in plan.KEYS and (name not in plan.STUDIES or name in plan.EARLY.values()):
            parser.error(f"there is no key or study {name}; the keys are {', '.join(plan.KEYS)}")
    return chosen


def write_results(bench, conditions):
    tables = [{"title": t, "columns": c, "rows": r} for t, (c, r) in bench.tables.items()]
    figures = {key: f.json() | {"lower_is_better": f.lower_is_better} for key, f in bench.figures.items()}
    books = figures | {"_setting": conditions, "_tables": tables}
    (bench.state / "bench.json").write_text(json.dumps(books, indent=1) + "\n")
    results.write(books, bench.state / "RESULTS.md")


def main():
    chosen = options()
    pathlib.Path(chosen.state).mkdir(parents=True, exist_ok=True)
    bench = Bench(chosen.state, chosen.quick, chosen.only)
    begun = time.monotonic()
    try:
        bench.start()
        conditions = setting(bench) | ({"remark": chosen.remark} if chosen.remark else {})
        plan.measure_all(bench, say)
    finally:
        bench.stop()
    print_table(bench)
    print(json.dumps(conditions, indent=1))
    write_results(bench, conditions)
    print(f"{bench.state / 'bench.json'}, {bench.state / 'RESULTS.md'}; {time.monotonic() - begun:.0f} s")
    return 0 if all(f.reached for f in bench.figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
