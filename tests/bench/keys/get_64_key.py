"""What credentials cost: reads and writes with an API key and with a token, over the same without, plain and with TLS.

A daemon of its own checks credentials that are sent and needs none. The table below the keys also has TLS, where each
connection is opened once, as by NGINX for reads.
"""

import pathlib
import time
from contextlib import contextmanager

import yaml
from keys import Key
from measure import median
from rounds import empty_outbox, fresh, level_again
from support.jwt import Issuer
from support.plistd import Plistd, admin
from support.process import free_port
from support.tls import Deployment

KEY = Key("GET/s, 64 connections, with an API key", "the same without credentials", 0.95, 0.98)
TABLE = "Requests per second with credentials, over the same without"
HOW = ("without", "key", "token")


@contextmanager
def daemon(bench, tls):
    """A daemon of us instead of the stack's. Yields it and the options of plist-load for each of HOW."""
    stack, port = bench.stack, free_port()
    folder = bench.folder / f"credentials-{'tls' if tls else 'plain'}"
    folder.mkdir(exist_ok=True)
    issuer, config = Issuer(folder / "issuer"), yaml.safe_load(stack.config.read_text())
    (folder / "keys.json").write_text(issuer.key_set())
    config["auth"] = {"api_keys": str(folder / "keys"), "jwt": {"keys": str(folder / "keys.json"), "issuer": Issuer.name, "audience": "plist"}}
    config["security"] = {"clients": "open"}
    config["regions"]["us"] |= {"listen": f"127.0.0.1:{port}", "control_socket": str(folder / "us.sock"), "unix_socket": str(folder / "us.http")}
    shown = []
    if tls:
        made = Deployment(folder / "tls", list(config["regions"]))
        made.configure(config)
        shown = ["--certificate", made.nginx.certificate, "--key", made.nginx.key]
    (folder / "plist.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    key = admin("keys", "add", "bench", config=folder / "plist.yaml").stdout.strip()
    token = issuer.token("ES256", aud="plist", sub="bench", exp=int(time.time()) + 7200)
    mine = Plistd(folder, "us", port, folder / "plist.yaml", name=folder.name)
    if tls:
        mine.secure(made.front())
    stack.plistd["us"].stop()
    try:
        mine.start().wait_ready(60)
        yield mine, {"without": shown, "key": [*shown, "--token", key], "token": [*shown, "--token", token]}
    finally:
        mine.stop()
        stack.plistd["us"].start()
        stack.plistd["us"].wait_ready()


def rate(bench, mine, mode, more):
    """Requests per second; and the daemon's processor time for each, which other programs hardly change."""
    before = cpu_us(mine)
    value, books = bench.stack.put_rate(port=mine.port, mode=mode, seconds=bench.turn_seconds, more=more)
    return value, books | {"cpu_us": (cpu_us(mine) - before) / max(1, books["requests"])}


def cpu_us(mine):
    """The processor time of its threads, which live as long as the daemon. The kernel counts it in ns; a tick of /proc/PID/stat has 10 ms."""
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{mine.pid}/task").glob("*/schedstat")) / 1000


def turns(bench, mine, options, seen):
    """All turns of one daemon; `seen` gets the samples: {(mode, how): [sample]}."""
    for turn in bench.turns_within(60):
        empty_outbox(bench)
        fresh(bench)
        for mode in ("get", "put"):
            got = bench.turn(turn, *(lambda h=how, m=mode: bench.sample(f"{m}_64 {h}", lambda: rate(bench, mine, m, options[h]))
                                     for how in HOW))
            for how, sample in zip(HOW, got):
                seen.setdefault((mode, how), []).append(sample)


def cpu_row(pairs):
    ours, theirs = ([sample.detail["cpu_us"] for sample in side] for side in zip(*pairs))
    return median(ours), median(theirs), f"{median([a / b for a, b in zip(ours, theirs)]):.3f}"


def measure(bench, say):
    rows = []
    for tls in (False, True):
        seen = {}
        with daemon(bench, tls) as (mine, options), bench.stack.relay_held("us"):
            turns(bench, mine, options, seen)
            empty_outbox(bench)
        for mode in ("get", "put"):
            for how in HOW[1:]:
                pairs = list(zip(seen[mode, how], seen[mode, "without"]))
                if not tls:
                    for subject, reference in pairs:
                        bench.figure(f"{mode}_64_{how}").add(subject, reference)
                rows.append((mode.upper(), "TLS" if tls else "plain", how, median([s.value for s, _ in pairs]),
                             median([r.value for _, r in pairs]), f"{median([s.value / r.value for s, r in pairs]):.3f}",
                             *cpu_row(pairs)))
    bench.table(TABLE, ("method", "connection", "credentials", "with", "without", "ratio", "daemon µs/req", "without ", "ratio "), rows)
    level_again(bench)
