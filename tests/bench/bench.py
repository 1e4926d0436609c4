#!/usr/bin/python3
"""./run bench: how fast plist is, as ratios to things that anyone can run. Prints a table, writes bench.json.

Everything runs on this machine, in one run, in turns: subject and reference one after the other in each round, so that drift cancels. Durability is
on everywhere (fsync, synchronous_commit). A sample beside which other programs of the machine were busy is called noisy and shown as such.
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

import keys  # noqa: E402
from measure import NOISE, take  # noqa: E402
from references import PgBench, run_sql  # noqa: E402
from subjects import DURABLE, BenchStack  # noqa: E402


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """What the measurements of keys.py share: servers, how long a sample lasts, how many rounds there are."""

    def __init__(self, state, quick, only):
        self.begun = time.monotonic()
        self.quick = quick
        self.only = only
        self.rounds = 3 if quick else 7
        self.seconds = 2.0 if quick else 5.0
        # What needs no preparation is measured in more and shorter turns: a machine whose speed changes from one half minute to the next then
        # changes it for both sides.
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
        self.tables = []

    def wanted(self, *names):
        return not self.only or any(n in self.only for n in names)

    def figure(self, key):
        if key not in self.figures:
            self.figures[key] = keys.figure(key)
        return self.figures[key]

    def sample(self, what, measure):
        sample = take(measure)
        if sample.noisy and not (self.quick and time.monotonic() > self.begun + 120):  # once more; if that is noisy too, it is told so
            sample = min(sample, take(measure), key=lambda s: s.foreign)
        say(f"  {what}: {sample.value:,.0f}" + (f"  (noisy: {sample.foreign:.2f} cores used by others)" if sample.noisy else ""))
        return sample

    def turns_within(self, seconds):
        """All turns; in a quick run on a slow machine as many as begin within that time, but three."""
        begun = time.monotonic()
        for turn in range(self.turns):
            if self.quick and turn >= 3 and time.monotonic() > begun + seconds:
                return
            yield turn

    def turn(self, turn, *measures):
        """The samples of both sides; every second turn begins with the other one."""
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
        "nginx_to_daemons": "sockets of the file system (nginx.beside)",
        "kafka": next((p.name for p in bench.stack.broker.jars.glob("kafka_2.13-*.jar")), "unknown"),
        "nginx": version("nginx", "-v"), "node": version("node", "--version"), "gcc": version("gcc", "--version"),
        "rounds": bench.rounds, "seconds": bench.seconds, "turns": bench.turns, "turn_seconds": bench.turn_seconds, "noisy_above_cores": NOISE, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def print_table(bench):
    print(f"\n{'key':<18}{'value':>12}{'reference':>12}{'ratio':>8}{'spread':>8}{'must':>7}{'aim':>6}  verdict")
    for key, figure in bench.figures.items():
        j = figure.json()
        sign = "≤" if figure.lower_is_better else "≥"
        verdict = ("reached" if figure.reached else "MISSED") + (f", {figure.noisy} noisy samples" if figure.noisy else "")
        print(f"{key:<18}{j['value']:>12,.1f}{j['reference']:>12,.1f}{j['ratio']:>8.2f}{j['spread']:>7.0%} {sign}{figure.must:>6}{figure.aim or '–':>6}  {verdict}")
    for title, head, rows in bench.tables:
        print(f"\n{title}\n" + "".join(f"{h:>16}" for h in head))
        for row in rows:
            print("".join(f"{c:>16,.1f}" if isinstance(c, float) else f"{c!s:>16}" for c in row))
    print()


def main():
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about five minutes")
    parser.add_argument("--only", metavar="KEY,…", help="these keys alone: " + ", ".join(keys.KEYS))
    parser.add_argument("--state", default=os.environ.get("PLIST_BENCH_FOLDER", str(HERE.parents[1] / ".state" / "bench")), help="folder for servers and results")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else []
    for name in only:
        if name not in keys.KEYS:
            parser.error(f"there is no key {name}; there are {', '.join(keys.KEYS)}")
    pathlib.Path(options.state).mkdir(parents=True, exist_ok=True)
    bench = Bench(options.state, options.quick, only)
    begun = time.monotonic()
    try:
        bench.start()
        told = setting(bench)
        keys.measure_all(bench, say)
    finally:
        bench.stop()
    result = {key: figure.json() for key, figure in bench.figures.items()}
    print_table(bench)
    print(json.dumps(told, indent=1))
    file = pathlib.Path(options.state) / "bench.json"
    tables = [{"title": t, "columns": h, "rows": r} for t, h, r in bench.tables]
    file.write_text(json.dumps(result | {"_setting": told, "_tables": tables}, indent=1) + "\n")
    print(f"{file}; {time.monotonic() - begun:.0f} s")
    return 0 if all(f.reached for f in bench.figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
