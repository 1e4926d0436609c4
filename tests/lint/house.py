#!/usr/bin/python3
# The rules of the house, as far as a machine can see them: TAP, one line a rule.
#
# Reads the source tree only (PL_TOP_SRCDIR, else the one that this file stands in), changes nothing. `house_self_test.py` proves that each
# rule sees what it forbids. Run by `make check`; by hand: tests/lint/house.py
import os
import pathlib
import re
import sys

ROOMS = ["base", "config", "db", "record", "script", "replicate", "http", "ops", "admin"]  # each may include those before it
LINES_MAX = 600
HERE = pathlib.Path(__file__).resolve()


def c_files(root):
    return sorted(p for p in (root / "src").rglob("*") if p.suffix in (".c", ".h"))


def code_files(root):
    """Everything that somebody wrote as code."""
    suffixes = (".c", ".h", ".lua", ".py", ".sh", ".sql")
    found = []
    for top in ("src", "lua", "sql", "tests"):
        for path in (root / top).rglob("*"):
            if path.suffix in suffixes and path.is_file() and not set(path.parts) & {"node_modules", "__pycache__"}:
                found.append(path)
    return sorted(found)


def includes(path):
    """(line number, name, quoted?) of each #include."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(2), match.group(1) == '"'


def without_comments(text):
    """C text with comments blanked out, lines kept; strings stay."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.S)
    return pattern.sub(lambda m: m.group(0) if m.group(0)[0] in "\"'" else re.sub(r"[^\n]", " ", m.group(0)), text)


def includes_run_one_way(root):
    """a room includes only itself and the rooms to its left"""
    for path in c_files(root):
        room = path.parent.name
        if path.parent == root / "src":
            continue  # the programs stand above all rooms
        if room not in ROOMS:
            yield path, 1, f"{room}/ is no room; the rooms are {' '.join(ROOMS)}"
            continue
        for number, name, quoted in includes(path):
            other = name.split("/")[0]
            if not quoted:
                continue
            if name == "config.h" or (name.startswith(f"src/{room}/") and name.endswith(".inc")):
                continue  # autoconf's; a file made by the build
            if "/" not in name or other not in ROOMS:
                yield path, number, f'"{name}" is not named by its room'
            elif ROOMS.index(other) > ROOMS.index(room):
                yield path, number, f"{room}/ includes {name}: {other}/ stands to its right"


def own_header_first(root):
    """a .c file includes its own header first"""
    for path in c_files(root):
        if path.suffix != ".c" or path.parent == root / "src":
            continue
        own = f"{path.parent.name}/{path.stem}.h"
        first = next(includes(path), None)
        if path.with_suffix(".h").exists():
            if first is None or first[1] != own or not first[2]:
                yield path, first[0] if first else 1, f'the first include is not "{own}"'


def head_comments(root):
    """a file begins by saying what it is"""
    openings = {".c": "//", ".h": "//", ".lua": "--", ".py": "#", ".sh": "#", ".sql": "--"}
    for path in code_files(root):
        lines = path.read_text().splitlines()
        if lines and lines[0].startswith("#!"):
            lines = lines[1:]
        if not lines:
            if path.name != "__init__.py":
                yield path, 1, "the file is empty"
            continue
        if path.name.endswith("_spec.lua"):
            continue  # its describe() says it
        mark = openings[path.suffix]
        text = lines[0][len(mark):].strip(" -")
        if path.suffix == ".py" and lines[0].startswith(('"""', 'r"""')):
            continue
        if not lines[0].startswith(mark) or len(text.split()) < 2:
            yield path, 1, "no comment at the top that says what this file is"


def threads_are_told(root):
    """a module says which threads may call it"""
    for path in c_files(root):
        if path.suffix != ".c" or path.parent.name == "admin":
            continue  # the tool has one thread
        head = path.read_text().split("#include")[0]
        header = path.with_suffix(".h")
        if header.exists():
            head += header.read_text()
        if "Threads:" not in head and "one thread" not in head:
            yield path, 1, "neither the top of the file nor its header has a line `Threads:`"


def files_are_short(root):
    """a file has no more lines than one can keep in mind"""
    for path in code_files(root):
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX:
            yield path, LINES_MAX, f"{lines} lines; over {LINES_MAX} it is two files"


def runtime_knows_no_properties(root):
    """the words of the reference application stay out of src/"""
    word = re.compile(r"(?<![A-Za-z])(property|properties|prices?|bedrooms?|bathrooms?)(?![A-Za-z])", re.I)
    # Two others have a claim to the plural: the key of Kafka's own settings, and JSON Schema's name for the members of an object.
    theirs = re.compile(r'kafka\.properties|"properties"|cJSON \*properties|\(properties,|add_twin\(schema, properties')
    for path in c_files(root):
        for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
            if path.parent.name in ("config", "replicate"):
                line = theirs.sub("", line)
            for match in word.finditer(line):
                yield path, number, f"`{match.group(0)}`: nothing about properties is compiled in"


def sources_are_listed(root):
    """each source is built and distributed: it stands in its directory's Makefile.inc"""
    for path in c_files(root):
        makefile = path.parent / "Makefile.inc"
        if f"%D%/{path.name}" not in (makefile.read_text() if makefile.exists() else "").split():
            yield path, 1, f"not in {makefile.relative_to(root)}"


def unit_tests_are_listed(root):
    """each unit test is built and run"""
    for path in sorted((root / "tests" / "unit").rglob("test_*.c")):
        makefile = path.parent / "Makefile.inc"
        words = (makefile.read_text() if makefile.exists() else "").split()
        if f"%D%/{path.name}" not in words:
            yield path, 1, f"not in {makefile.relative_to(root)}"
            continue
        run = False
        for line in makefile.read_text().replace("\\\n", " ").splitlines():
            run = run or (line.startswith("TESTS") and re.search(rf"%D%/{re.escape(path.stem)}(\.pg)?(\s|$)", line))
        if not run:
            yield path, 1, f"not among TESTS of {makefile.relative_to(root)}"


RULES = [
    includes_run_one_way,
    own_header_first,
    head_comments,
    threads_are_told,
    files_are_short,
    runtime_knows_no_properties,
    sources_are_listed,
    unit_tests_are_listed,
]


def main():
    root = pathlib.Path(os.environ.get("PL_TOP_SRCDIR") or HERE.parents[2]).resolve()
    failed = 0
    print(f"1..{len(RULES)}")
    for number, rule in enumerate(RULES, 1):
        faults = list(rule(root))
        print(f"{'not ' if faults else ''}ok {number} - {rule.__doc__}")
        for path, line, message in faults:
            print(f"# {path.relative_to(root)}:{line}: {message}")
        failed += bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
