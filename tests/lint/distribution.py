#!/usr/bin/python3
# A release holds every file of the repository, and an installation every Lua file, migration, seed and man page. TAP.
#
# Asks the Makefile what it distributes and compares that with git. In an unpacked release there is no git, and nothing to compare.
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("PL_TOP_SRCDIR") or pathlib.Path(__file__).resolve().parents[2]).resolve()
BUILD = pathlib.Path(os.environ.get("PL_TOP_BUILDDIR") or ROOT)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def undistributed():
    """every file of the repository is in the release"""
    words = run("make", "-s", "-C", str(BUILD), "print-distfiles").split()
    listed = {str(pathlib.PurePosixPath(re.sub(r"^.*/\.\./(?=[^.])|^\./", "", w.replace(str(ROOT) + "/", "")))) for w in words}
    for name in run("git", "-C", str(ROOT), "ls-files").splitlines():
        parts = pathlib.PurePosixPath(name)
        if not (ROOT / name).exists():
            continue
        if name not in listed and not any(str(parent) in listed for parent in parts.parents):
            yield f"{name}: in no list of a Makefile.inc or of install.inc"


def uninstalled():
    """every Lua file, migration, seed and man page is installed"""
    lists = (ROOT / "install.inc").read_text().split()
    for pattern in ("lua/**/*.lua", "sql/*.sql", "seeds/*.sql", "man/*.[1-9]", "conf/completion/*"):
        for path in sorted(ROOT.glob(pattern)):
            if str(path.relative_to(ROOT)) not in lists:
                yield f"{path.relative_to(ROOT)}: not in install.inc"


def main():
    failed = 0
    rules = [undistributed, uninstalled]
    print(f"1..{len(rules)}")
    for number, rule in enumerate(rules, 1):
        if rule is undistributed and not (ROOT / ".git").exists():
            print(f"ok {number} - {rule.__doc__} # SKIP no repository here")
            continue
        faults = list(rule())
        print(f"{'not ' if faults else ''}ok {number} - {rule.__doc__}")
        for fault in faults:
            print(f"# {fault}")
        failed += bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
