"""The keys of bench.json, one per file: what is measured, against what, and the ratio that must be reached.

A key's file has KEY, and one of these: turn(bench, turn), if it is measured on region us alone together with the
others of its kind; measure(bench, say), if it has a separate session; neither, if another key's file measures it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    what: str
    over: str
    must: float
    aim: float
    lower_is_better: bool = False
