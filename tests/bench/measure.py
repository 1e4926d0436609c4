"""Samples: the measured value, the foreign load meanwhile, and the statistics of a run.

Machines differ and drift, so only ratios within a run are compared. In every round the subject and its reference are
measured one after the other, and the ratio is computed within the round. The value of a key is the median of its rounds.
"""

import os
import pathlib
import statistics
import time
from dataclasses import dataclass, field

from support.process import stat_of, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
# A sample is noisy if other programs used more than this share of one core meanwhile.
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
    """Processor time of this process and its descendants; ended ones are included in their parents."""
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
    """Processor time of the machine without idle and I/O wait; and idle time."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields) - fields[3] - fields[4], fields[3]


@dataclass
class Sample:
    value: float
    foreign: float            # cores used by other programs meanwhile
    seconds: float
    detail: dict = field(default_factory=dict)

    @property
    def noisy(self):
        return self.foreign > NOISE


def take(measure):
    """Runs measure() → value or (value, detail), and measures the foreign load meanwhile."""
    own, busy, begun = own_ticks(), machine_ticks()[0], time.monotonic()
    got = measure()
    seconds = time.monotonic() - begun
    foreign = ((machine_ticks()[0] - busy) - (own_ticks() - own)) / TICKS / seconds
    value, detail = got if isinstance(got, tuple) else (got, {})
    return Sample(float(value), max(0.0, foreign), seconds, detail)


def watch(what, predicate, timeout=120):
    """Waits for the end of what is timed, polling at a constant interval."""
    return wait_until(what, predicate, timeout, pause=0.02, growth=1)


def median(values):
    return statistics.median(values)


def spread(values):
    """Half the interquartile range relative to the median; with fewer than four values, half their range."""
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
        """The number of noisy samples."""
        return sum(s.noisy for s in self.subject + self.reference)

    @property
    def reached(self):
        return self.ratio <= self.must if self.lower_is_better else self.ratio >= self.must

    def json(self):
        return {"value": round(median([s.value for s in self.subject]), 3), "reference": round(median([r.value for r in self.reference]), 3),
                "ratio": round(self.ratio, 3), "n": len(self.ratios), "spread": round(spread(self.ratios), 3),
                "noisy_samples": self.noisy, "must": self.must, "aim": self.aim, "reached": self.reached,
                "what": self.what, "over": self.over}
