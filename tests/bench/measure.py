"""Samples: what was measured, beside which foreign load, and what a run of them says.

Machines differ and drift, so a figure is only ever a ratio of two things measured in the same run, in turns: for every round the subject
and its reference are measured one after the other, and the ratio is taken within the round. The value of a key is the
median of its rounds.
"""

import os
import pathlib
import statistics
import time
from dataclasses import dataclass, field

from support.process import stat_of, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
# A sample beside which others used more than this share of one core is called noisy.
NOISE = 0.10


def _stat(pid):
    fields = stat_of(pid)
    return int(fields[1]), sum(int(f) for f in fields[11:15])  # parent; own and waited-for children's time


def _processes():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = _stat(int(entry))
            except (OSError, ValueError):
                continue
    return found


def own_ticks():
    """Processor time of this process, all that it started, and what those started; the ended ones count with their parents."""
    table = _processes()
    ours = {os.getpid()}
    grown = True
    while grown:
        grown = False
        for pid, (parent, _) in table.items():
            if parent in ours and pid not in ours:
                ours.add(pid)
                grown = True
    return sum(table[pid][1] for pid in ours if pid in table)


def machine_ticks():
    """All processor time of the machine but idle and waiting for disks; and the idle."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields) - fields[3] - fields[4], fields[3]


@dataclass
class Sample:
    value: float
    foreign: float            # cores that others used meanwhile
    seconds: float
    detail: dict = field(default_factory=dict)

    @property
    def noisy(self):
        return self.foreign > NOISE


def take(measure):
    """Runs measure() → value or (value, detail) and watches who else was busy."""
    own, busy, begun = own_ticks(), machine_ticks()[0], time.monotonic()
    got = measure()
    seconds = time.monotonic() - begun
    foreign = ((machine_ticks()[0] - busy) - (own_ticks() - own)) / TICKS / seconds
    value, detail = got if isinstance(got, tuple) else (got, {})
    return Sample(float(value), max(0.0, foreign), seconds, detail)


def watch(what, predicate, timeout=120):
    """Waits for the end of what is timed: looks as often then as at its beginning."""
    return wait_until(what, predicate, timeout, pause=0.02, growth=1)


def median(values):
    return statistics.median(values)


def spread(values):
    """Half the distance of the quartiles, as a share of the median; of fewer than four values, half their range."""
    values = sorted(values)
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return 0.0
    if len(values) < 4:
        return (values[-1] - values[0]) / 2 / middle
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


@dataclass
class Figure:
    """One key of bench.json."""
    key: str
    what: str
    over: str
    must: float
    aim: float
    lower_is_better: bool = False
    subject: list = field(default_factory=list)
    reference: list = field(default_factory=list)

    def add(self, subject, reference):
        self.subject.append(subject)
        self.reference.append(reference)

    @property
    def ratios(self):
        return [s.value / r.value for s, r in zip(self.subject, self.reference) if r.value]

    @property
    def ratio(self):
        return median(self.ratios) if self.ratios else 0.0

    @property
    def noisy(self):
        """How many of its samples were taken beside foreign load."""
        return sum(s.noisy for s in self.subject + self.reference)

    @property
    def reached(self):
        return self.ratio <= self.must if self.lower_is_better else self.ratio >= self.must

    def json(self):
        return {"value": round(median([s.value for s in self.subject]), 3), "reference": round(median([r.value for r in self.reference]), 3),
                "ratio": round(self.ratio, 3), "n": len(self.ratios), "spread": round(spread(self.ratios), 3),
                "noisy_samples": self.noisy, "must": self.must, "aim": self.aim, "reached": self.reached,
                "what": self.what, "over": self.over}
