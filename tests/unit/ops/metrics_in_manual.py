#!/usr/bin/python3
# plistd(8) lists every metric that the daemon has, and no other. TAP.
import os
import pathlib
import re

TOP = pathlib.Path(os.environ.get("PL_TOP_SRCDIR") or pathlib.Path(__file__).resolve().parents[3])


def in_sources():
    names = set()
    for path in (TOP / "src" / "ops").glob("*.c"):
        names |= set(re.findall(r"(?<![\w/.@])(?:plist|process)_[a-z_]+(?=[\"{ ])", path.read_text()))
    # A histogram's own lines are not families.
    return {re.sub(r"_(bucket|sum|count)$", "", n) for n in names} - {"plist_housekeeping", "plist_leaders"}


def in_manual():
    text = (TOP / "man" / "plistd.8").read_text()
    return {name for line in re.findall(r"^\.It Li (.*)$", text, re.M) for name in re.findall(r"\b(?:plist|process)_[a-z_]+", line)}


def main():
    sources, manual = in_sources(), in_manual()
    print("1..2")
    for number, what, wrong in ((1, "every metric is in plistd(8)", sources - manual),
                                (2, "plistd(8) has no metric that is gone", manual - sources)):
        print(f"{'not ' if wrong else ''}ok {number} - {what}")
        for name in sorted(wrong):
            print(f"# {name}")
    if len(sources) < 50:
        print(f"# only {len(sources)} metrics were found in the sources")
        return 1
    return 1 if sources != manual else 0


raise SystemExit(main())
