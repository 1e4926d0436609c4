"""What the benchmark measures, in order: the keys, and the studies that explain them."""

import importlib
import pathlib

from rounds import alone

HERE = pathlib.Path(__file__).resolve().parent
# In the order of the table. e2e_p50 and apply come before put_64_1m, which adds a
# million rows.
NAMES = ("put_64", "put_64_vs_batch", "put_1_p50", "hot_record", "get_64", "put_64_nginx", "put_64_vs_express",
         "get_64_key", "get_64_token", "put_64_key", "put_64_token",
         "put_64_relay", "relay_drain", "full_chain", "e2e_p50", "apply", "put_64_1m")
# Each study, and the keys that it explains: it runs if one of them is measured. The
# studies in EARLY run right after that key.
STUDIES = {"looping_policy": ("e2e_p50",), "connections": ("put_64",), "request_costs": ("put_64", "get_64"),
           "workers": ("put_64",), "nginx_ways": ("put_64_nginx",), "idle_connections": ("put_64",), "parked": ("apply",)}
EARLY = {"e2e_p50": "looping_policy"}
# Keys that another key's file measures.
MEASURED_BY = {"get_64_token": "get_64_key", "put_64_key": "get_64_key", "put_64_token": "get_64_key",
               "put_64_vs_batch": "put_64", "relay_drain": "put_64_relay"}

MODULES = {name: importlib.import_module(f"keys.{name}") for name in NAMES}
KEYS = {name: module.KEY for name, module in MODULES.items()}


def measure_all(bench, say):
    wanted = [name for name in NAMES if bench.wanted(name)]
    files = list(dict.fromkeys(MEASURED_BY.get(name, name) for name in wanted))
    one_region(bench, say, [name for name in files if hasattr(MODULES[name], "turn")])
    for name in files:
        if hasattr(MODULES[name], "measure"):
            say(f"{name}: {KEYS[name].what}")
            MODULES[name].measure(bench, say)
        if name in EARLY:
            study(bench, say, EARLY[name])
    for name, explains in STUDIES.items():
        if name not in EARLY.values() and (set(explains) & set(wanted) or name in bench.only):
            study(bench, say, name)


def one_region(bench, say, names):
    """The keys of a region alone share its turns, so that they are measured under the same conditions."""
    if names:
        say(f"one region alone: {', '.join(names)}")
        for turn in alone(bench, bench.turns_within(40)):
            for name in names:
                MODULES[name].turn(bench, turn)


def study(bench, say, name):
    module = importlib.import_module(f"studies.{name}")
    if not bench.quick or name in bench.only or getattr(module, "QUICK", False):
        say(f"study {name}: {module.__doc__.splitlines()[0]}")
        module.measure(bench, say)
