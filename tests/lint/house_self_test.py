#!/usr/bin/python3
# Proves the rules of house.py: each sees what it forbids, in a small tree made for it, and says nothing of the same tree put right. TAP.
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import distribution  # noqa: E402
import house  # noqa: E402

HEAD = "// A thing for the test.\n// Threads: any.\n"

# A tree in which all is well. `None` in a case's changes takes a file away.
GOOD = {
    "src/plistd.c": HEAD + '#include <stdio.h>\n#include "admin/tool.h"\n',
    "src/base/low.h": HEAD + "#pragma once\n",
    "src/base/low.c": HEAD + '#include "base/low.h"\n\n#include <stdio.h>\n',
    "src/base/low_more.c": HEAD + '#include "base/low.h"\n\n#include <stdio.h>\n',
    "src/base/Makefile.inc": "libplist_a_SOURCES += %D%/low.c %D%/low.h \\\n  %D%/low_more.c\n",
    "src/http/high.h": HEAD + "#pragma once\n",
    "src/http/high.c": HEAD + '#include "http/high.h"\n\n#include "base/low.h"\n',
    "src/http/Makefile.inc": "libplist_a_SOURCES += %D%/high.c %D%/high.h\n",
    "src/admin/tool.h": HEAD + "#pragma once\n",
    "src/admin/Makefile.inc": "libplist_a_SOURCES += %D%/tool.h\n",
    "src/Makefile.inc": "plistd_SOURCES = %D%/plistd.c\n",
    "lua/handlers/property_get.lua": "-- Reads a property.\nreturn {}\n",
    "sql/001_plist.sql": "-- The tables of plist.\n",
    "tests/unit/base/test_low.c": HEAD,
    "tests/unit/base/Makefile.inc": "check_PROGRAMS += %D%/test_low\nTESTS += %D%/test_low\n%C%_test_low_SOURCES = %D%/test_low.c\n",
    "tests/unit/db/test_session.c": HEAD,
    "tests/unit/db/Makefile.inc": "TESTS += %D%/test_session.pg\n%C%_test_session_pg_SOURCES = %D%/test_session.c\n",
    "tests/spec/x_spec.lua": "describe('x', function() end)\n",
    "tests/support/__init__.py": "",
}

# rule, what is wrong, the changes, the file that must be named
CASES = [
    ("includes_run_one_way", "a room includes one to its right",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n#include "http/high.h"\n'}, "src/base/low.c:4"),
    ("includes_run_one_way", "a header does",
     {"src/base/low.h": HEAD + '#include "admin/tool.h"\n'}, "src/base/low.h:3"),
    ("includes_run_one_way", "with blanks in the directive",
     {"src/base/low.h": HEAD + '  #  include   "admin/tool.h"\n'}, "src/base/low.h:3"),
    ("includes_run_one_way", "a header is not named by its room",
     {"src/http/high.c": HEAD + '#include "high.h"\n'}, "src/http/high.c:3"),
    ("includes_run_one_way", "a room that nobody knows",
     {"src/cellar/x.c": HEAD}, "src/cellar/x.c:1"),
    ("own_header_first", "another header of ours comes first",
     {"src/http/high.c": HEAD + '#include "base/low.h"\n#include "http/high.h"\n'}, "src/http/high.c:3"),
    ("own_header_first", "a system header comes first",
     {"src/base/low.c": HEAD + '#include <stdio.h>\n#include "base/low.h"\n'}, "src/base/low.c:3"),
    ("own_header_first", "it is not included at all",
     {"src/base/low.c": HEAD}, "src/base/low.c:1"),
    ("own_header_first", "it is included with angle brackets",
     {"src/base/low.c": HEAD + '#include <base/low.h>\n'}, "src/base/low.c:3"),
    ("head_comments", "C without one",
     {"src/base/low.c": '#include "base/low.h"\n' + HEAD}, "src/base/low.c:1"),
    ("head_comments", "an empty comment",
     {"src/base/low.h": "//\n#pragma once\n"}, "src/base/low.h:1"),
    ("head_comments", "Lua without one",
     {"lua/handlers/property_get.lua": "return {}\n"}, "lua/handlers/property_get.lua:1"),
    ("head_comments", "a script without one",
     {"tests/support/x.py": "#!/usr/bin/python3\nimport sys\n"}, "tests/support/x.py:1"),
    ("head_comments", "SQL without one",
     {"sql/001_plist.sql": "BEGIN;\n"}, "sql/001_plist.sql:1"),
    ("threads_are_told", "nobody says which threads",
     {"src/base/low.c": '// A thing.\n#include "base/low.h"\n', "src/base/low.h": "// A thing.\n"}, "src/base/low.c:1"),
    ("files_are_short", "a C file of 601 lines",
     {"src/base/low.c": HEAD + "\n" * 599}, "src/base/low.c:600"),
    ("files_are_short", "a test of 601 lines",
     {"tests/unit/base/test_low.c": HEAD + "\n" * 599}, "tests/unit/base/test_low.c:600"),
    ("runtime_knows_no_properties", "in a name",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nint old_price;\n'}, "src/http/high.c:4"),
    ("runtime_knows_no_properties", "in a string, with a comment's beginning before it",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nchar *s = "// Property not found";\n'}, "src/http/high.c:4"),
    ("runtime_knows_no_properties", "the plural as a resource's name",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nchar *s = "/us/properties/7";\n'}, "src/http/high.c:4"),
    ("sources_are_listed", "a source that is not built",
     {"src/base/more.c": HEAD}, "src/base/more.c:1"),
    ("sources_are_listed", "a name that only begins like a listed one",
     {"src/base/Makefile.inc": "libplist_a_SOURCES += %D%/low.c %D%/low.hh %D%/low_more.c\n"}, "src/base/low.h:1"),
    ("unit_tests_are_listed", "a test that is not built",
     {"tests/unit/base/test_more.c": HEAD}, "tests/unit/base/test_more.c:1"),
    ("unit_tests_are_listed", "a test that is built and not run",
     {"tests/unit/base/Makefile.inc": "check_PROGRAMS += %D%/test_low\n%C%_test_low_SOURCES = %D%/test_low.c\n"},
     "tests/unit/base/test_low.c:1"),
    ("unit_tests_are_listed", "a directory without a Makefile.inc",
     {"tests/unit/db/Makefile.inc": None}, "tests/unit/db/test_session.c:1"),
]

# What a rule must not take for a fault.
INNOCENT = [
    ("runtime_knows_no_properties", "words in comments",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n// the price of a property\n/* properties:\n   price */\n'}),
    ("runtime_knows_no_properties", "words within words",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nint priceless, improperly;\n'}),
    ("runtime_knows_no_properties", "Kafka's own properties",
     {"src/config/kafka.c": HEAD + 'char *s = "kafka.properties.%s";\n'}),
    ("includes_run_one_way", "what the build makes",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n#include "config.h"\n#include "src/http/made.inc"\n'}),
    ("own_header_first", "a file without a header of its own",
     {"src/base/low_more.c": HEAD + '#include <stdio.h>\n#include "base/low.h"\n'}),
    ("files_are_short", "600 lines",
     {"src/base/low.c": HEAD + "\n" * 598}),
    ("threads_are_told", "the header says it",
     {"src/base/low.c": '// A thing.\n#include "base/low.h"\n'}),
]


def faults(rule, changes):
    """`path:line` of each fault that the rule finds in GOOD with the changes made."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**GOOD, **changes}.items():
            if text is None:
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return [f"{path.relative_to(root)}:{line}" for path, line, _ in getattr(house, rule)(root)]


def results_of_distribution():
    tracked = ["NEWS", "src/base/low.c", "tests/support/kafka/pom.xml", "tests/supporters"]
    found = distribution.missing(tracked, {"NEWS", "tests/support", "src/base/low.h"})
    yield found == ["src/base/low.c", "tests/supporters"], "distribution: files in no list, nor in a listed directory", found
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in ("sql/001_x.sql", "sql/002_y.sql", "lua/a/b/c.lua", "man/plistd.8"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        (root / "install.inc").write_text("nobase_dist_pkgdata_DATA = \\\n  sql/001_x.sql \\\n  sql/002_y.sqlx\n")
        found = [fault.split(":")[0] for fault in distribution.uninstalled(root)]
        yield found == ["lua/a/b/c.lua", "sql/002_y.sql", "man/plistd.8"], "distribution: files that are not installed", found


def results():
    for rule in house.RULES:
        found = faults(rule.__name__, {})
        yield not found, f"{rule.__name__}: nothing to say of a good tree", found
    for rule, what, changes, expected in CASES:
        found = faults(rule, changes)
        yield found == [expected], f"{rule}: {what}", found
    for rule, what, changes in INNOCENT:
        found = faults(rule, changes)
        yield not found, f"{rule}: {what} is no fault", found
    yield from results_of_distribution()
    covered = {case[0] for case in CASES}
    for rule in house.RULES:
        yield rule.__name__ in covered, f"{rule.__name__}: has been seen to fail", []


def main():
    lines = list(results())
    print(f"1..{len(lines)}")
    for number, (ok, what, found) in enumerate(lines, 1):
        print(f"{'' if ok else 'not '}ok {number} - {what}")
        if not ok:
            print(f"# found: {found}")
    return 0 if all(ok for ok, _, _ in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
