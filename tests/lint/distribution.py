#!/usr/bin/python3
# A release holds every file of the repository, and an installation every Lua file,
# migration, seed and man page. TAP.
#
# Asks the Makefile what it distributes and compares that with git. In an unpacked release
# there is no git, and nothing to compare.
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("PL_TOP_SRCDIR") or pathlib.Path(__file__).resolve().parents[2]).resolve()
BUILD = pathlib.Path(os.environ.get("PL_TOP_BUILDDIR") or ROOT)


def run(*command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def distributed():
    """What the Makefile names, from the top of the source. A name is either that already or relative to the build's directory."""
    names = set()
    for word in run("make", "-s", "--no-print-directory", "-C", str(BUILD), "print-distfiles").split():
        names.add(os.path.normpath(word))
        names.add(os.path.relpath(BUILD / word, ROOT))
    return names


def missing(tracked, listed):
    """Those of the tracked files that are neither listed nor in a directory that is."""
    return [name for name in tracked
            if name not in listed and not any(str(parent) in listed for parent in pathlib.PurePosixPath(name).parents)]


def undistributed(root):
    """every file of the repository is in the release"""
    tracked = [name for name in run("git", "-C", str(root), "ls-files").splitlines() if (root / name).exists()]
    for name in missing(tracked, distributed()):
        yield f"{name}: in no list of a Makefile.inc or of install.inc"


def uninstalled(root):
    """every Lua file, migration, seed and man page is installed"""
    lists = (root / "install.inc").read_text().split()
    for pattern in ("lua/**/*.lua", "sql/*.sql", "seeds/*.sql", "man/*.[1-9]", "conf/completion/*"):
        for path in sorted(root.glob(pattern)):
            if str(path.relative_to(root)) not in lists:
                yield f"{path.relative_to(root)}: not in install.inc"


def main():
    failed = 0
    rules = [undistributed, uninstalled]
    print(f"1..{len(rules)}")
    for number, rule in enumerate(rules, 1):
        if rule is undistributed and not (ROOT / ".git").exists():
            print(f"ok {number} - {rule.__doc__} # SKIP no repository here")
            continue
        faults = list(rule(ROOT))
        print(f"{'not ' if faults else ''}ok {number} - {rule.__doc__}")
        for fault in faults:
            print(f"# {fault}")
        failed += bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
