#!/usr/bin/python3
# Proves the rules of house.py: each sees what it forbids, in a small tree made for it,
# and reports nothing in the same tree without faults. TAP.
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import distribution  # noqa: E402
import house  # noqa: E402

HEAD = "// A thing for the test.\n// Threads: any.\n"

# A tree without faults. `None` in a case's changes removes a file.
GOOD = {
    "src/plistd.c": HEAD + '#include <stdio.h>\n#include "admin/tool.h"\n',
    "src/base/low.h": HEAD + "#pragma once\n",
    "src/base/low.c": HEAD + '#include "base/low.h"\n\n#include <stdio.h>\n',
    "src/base/low_more.c": HEAD + '#include "base/low.h"\n\n#include <stdio.h>\n',
    "src/base/Makefile.inc": "libplist_a_SOURCES += %D%/low.c %D%/low.h \\\n  %D%/low_more.c %D%/low_private.h\n",
    "src/http/high.h": HEAD + "#pragma once\n",
    "src/http/high.c": HEAD + '#include "http/high.h"\n\n#include "base/low.h"\n',
    "src/http/Makefile.inc": "libplist_a_SOURCES += %D%/high.c %D%/high.h\n",
    "src/admin/tool.h": HEAD + "#pragma once\n",
    "src/admin/Makefile.inc": "libplist_a_SOURCES += %D%/tool.h %D%/cmd_lag.c\n",
    "src/Makefile.inc": "plistd_SOURCES = %D%/plistd.c\n",
    "lua/handlers/property_get.lua": "-- Reads a property.\nreturn {}\n",
    "sql/001_plist.sql": "-- The tables of plist.\nCREATE TABLE plist.outbox (\n",
    "tests/unit/base/test_low.c": HEAD,
    "tests/unit/base/Makefile.inc": "check_PROGRAMS += %D%/test_low\nTESTS += %D%/test_low\n%C%_test_low_SOURCES = %D%/test_low.c\n",
    "tests/unit/db/test_session.c": HEAD,
    "tests/unit/db/Makefile.inc": "TESTS += %D%/test_session.pg\n%C%_test_session_pg_SOURCES = %D%/test_session.c\n",
    "src/base/low_private.h": HEAD + "#pragma once\n",
    "src/script/bind/db.c": HEAD + '#include "script/bind/db.h"\n',
    "src/script/bind/db.h": HEAD + "#pragma once\nint pl_bind_db(void);\n",
    "src/script/Makefile.inc": "libplist_a_SOURCES += %D%/bind/db.c %D%/bind/db.h\n",
    "src/config/schema.c": HEAD + '{ "http", PL_KEY_MAP, 0 },\n{ "http.max_body", PL_KEY_SIZE, 0 },\n',
    "src/config/Makefile.inc": "libplist_a_SOURCES += %D%/schema.c\n",
    "src/ops/metrics.c": HEAD + 'static void all(void)\n{\n\tcounter(buf, "plist_batches_total", "Batches.", n);\n}\n',
    "src/ops/Makefile.inc": "libplist_a_SOURCES += %D%/metrics.c\n",
    "src/admin/cmd_lag.c": HEAD + 'const struct pl_command pl_cmd_lag = {\n\t.noun = "lag",\n\t.verb = "show",\n};\n',
    "man/plist.yaml.5": ".It Ic http.max_body Ar size\n",
    "man/plistd.8": ".It Li plist_batches_total\n",
    "man/plist-admin.8": ".Ss lag show\n",
    "man/plist-workflows.7": "The table outbox.\n",
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
    ("includes_run_one_way", "an unknown room",
     {"src/cellar/x.c": HEAD}, "src/cellar/x.c:1"),
    ("includes_run_one_way", "a room includes one that is listed above it but that it is not built on",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n#include "db/conn.h"\n'}, "src/http/high.c:4"),
    ("includes_run_one_way", "a folder of a room does",
     {"src/script/bind/db.c": HEAD + '#include "script/bind/db.h"\n#include "http/high.h"\n'}, "src/script/bind/db.c:4"),
    ("private_headers", "another file of the room includes one",
     {"src/base/other.c": HEAD + '#include "base/low_private.h"\n'}, "src/base/other.c:3"),
    ("private_headers", "another room does",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n#include "base/low_private.h"\n'}, "src/http/high.c:4"),
    ("private_headers", "a file whose stem only begins alike",
     {"src/base/lower.c": HEAD + '#include "base/low_private.h"\n'}, "src/base/lower.c:3"),
    ("private_headers", "another room includes the one that is named after its room",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n#include "script/script_private.h"\n'}, "src/http/high.c:4"),
    ("tags_are_defined_once", "two headers define one",
     {"src/base/low.h": HEAD + "struct pl_twice {\n};\n", "src/http/high.h": HEAD + "struct pl_twice {\n};\n"}, "src/http/high.h:3"),
    ("tags_are_defined_once", "two files have a struct of one name for themselves",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nstruct look {\n};\n',
      "src/http/high.c": HEAD + '#include "http/high.h"\n\nstruct look {\n};\n'}, "src/http/high.c:5"),
    ("tags_are_defined_once", "as an enum and within a struct",
     {"src/base/low.h": HEAD + "enum pl_twice { A };\n", "src/http/high.h": HEAD + "struct pl_x { struct pl_twice { int a; } b; };\n"},
     "src/http/high.h:3"),
    ("functions_are_small", "seven parameters, of a prototype over two lines",
     {"src/base/low.h": HEAD + "int pl_low_new(int a, int b, int (*c)(int, int), int d,\n               int e, int f, int g);\n"}, "src/base/low.h:3"),
    ("functions_are_small", "seven of a static one",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nstatic int go(int a, int b, int c, int d, int e, int f, int g)\n{\n}\n'},
     "src/base/low.c:5"),
    ("functions_are_small", "51 lines between the braces",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_low_go(void)\n{\n' + "\tgo();\n" * 51 + "}\n"}, "src/base/low.c:5"),
    ("functions_begin_with_their_file", "another stem",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_high_new(void)\n{\n}\n'}, "src/base/low.c:5"),
    ("functions_begin_with_their_file", "a stem that only begins alike",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_lower(void)\n{\n}\n'}, "src/base/low.c:5"),
    ("functions_begin_with_their_file", "another module's header declares it",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n\nint pl_low_new(void)\n{\n}\n',
      "src/base/low.h": HEAD + "int pl_low_new(void);\n"}, "src/http/high.c:5"),
    ("public_functions_are_used", "only its own file and its header name it",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_low_go(void)\n{\n}\n\nint pl_low_of(void)\n{\n\treturn pl_low_go();\n}\n',
      "src/base/low.h": HEAD + "int pl_low_go(void);\nint pl_low_of(void);\n",
      "src/http/high.c": HEAD + '#include "http/high.h"\n\n// pl_low_go\nstatic int go(void)\n{\n\treturn pl_low_of();\n}\n'}, "src/base/low.c:5"),
    ("no_circles_of_files", "two modules call each other",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nvoid pl_high_go(void)\n{\n\tpl_top_go();\n}\n',
      "src/http/top.c": HEAD + '#include "http/top.h"\nvoid pl_top_go(void)\n{\n\tpl_high_go();\n}\n',
      "src/http/top.h": HEAD}, "src/http/high.c:1"),
    ("no_circles_of_files", "three do, one by a table that it names, one from a folder of the room",
     {"src/http/high.c": HEAD + "void pl_high_go(void)\n{\n\tpl_top_list[0]();\n}\n",
      "src/http/top.c": HEAD + "const struct pl_x pl_top_list[] = { { pl_mid_go } };\n",
      "src/http/deep/mid.c": HEAD + "int pl_mid_go(void)\n{\n\treturn pl_high_go();\n}\n"}, "src/http/deep/mid.c:1"),
    ("no_circles_of_files", "a file with its own header is not part of the module that its name begins with",
     {"src/http/high.c": HEAD + "void pl_high_go(void)\n{\n\tpl_high_more_go();\n}\n",
      "src/http/high_more.h": HEAD, "src/http/high_more.c": HEAD + "void pl_high_more_go(void)\n{\n\tpl_high_go();\n}\n"},
     "src/http/high.c:1"),
    ("no_circles_of_files", "two headers include each other",
     {"src/base/low.h": HEAD + '#include "base/other.h"\n', "src/base/other.h": HEAD + '#include "base/low.h"\n'}, "src/base/low.h:1"),
    ("comments_name_files_that_exist", "a room and a stem",
     {"src/base/low.c": HEAD + "// See base/lowest.\n"}, "src/base/low.c:3"),
    ("comments_name_files_that_exist", "with a suffix, of a file that does not exist",
     {"src/base/low.c": HEAD + "// See http/high.c and base/low_more.h.\n"}, "src/base/low.c:3"),
    ("comments_name_files_that_exist", "a file alone, behind code",
     {"src/base/low.c": HEAD + "int a; // see lowest.c\n"}, "src/base/low.c:3"),
    ("comments_name_files_that_exist", "in HACKING.md",
     {"HACKING.md": "# Map\n`src/base/lowest.c`\n"}, "HACKING.md:2"),
    ("lines_are_narrow", "a comment of 91 columns",
     {"src/base/low.c": HEAD + "// " + "x" * 88 + "\n"}, "src/base/low.c:3"),
    ("lines_are_narrow", "an indented one",
     {"src/base/low.c": HEAD + "\t// " + "x" * 80 + "\n"}, "src/base/low.c:3"),
    ("lines_are_narrow", "a line of C of 111 columns",
     {"src/base/low.c": HEAD + "int a; // " + "x" * 101 + "\n"}, "src/base/low.c:3"),
    ("comments_end_once", "a last line that is left over",
     {"src/base/low.c": HEAD + "// The row, with all\n// required fields.\n// fields.\n"}, "src/base/low.c:5"),
    ("manual_names_everything", "a key",
     {"man/plist.yaml.5": ".It Ic http.max_body_size Ar size\n"}, "src/config/schema.c:4"),
    ("manual_names_everything", "a metric",
     {"man/plistd.8": ".It Li plist_batches\n"}, "src/ops/metrics.c:5"),
    ("manual_names_everything", "a command",
     {"man/plist-admin.8": ".Ss lag\n"}, "src/admin/cmd_lag.c:4"),
    ("manual_names_everything", "a table",
     {"man/plist-workflows.7": "The table outbox_rows.\n"}, "sql/001_plist.sql:2"),
    ("manual_pages_refer_to_each_other", "a page that does not exist",
     {"man/plistd.8": ".It Li plist_batches_total\n.Xr plist-handler 7\n"}, "man/plistd.8:2"),
    ("manual_pages_refer_to_each_other", "a page without a reference to plist(7)",
     {"man/plist.7": ".Xr plistd 8\n", **{f"man/{page}": f"{GOOD[f'man/{page}']}.Xr plist 7\n"
                                          for page in ("plist.yaml.5", "plist-admin.8", "plist-workflows.7")}}, "man/plistd.8:1"),
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
    ("threads_are_stated", "threads are not stated",
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
     {"src/base/Makefile.inc": "libplist_a_SOURCES += %D%/low.c %D%/low.hh %D%/low_more.c %D%/low_private.h\n"}, "src/base/low.h:1"),
    ("unit_tests_are_listed", "a test that is not built",
     {"tests/unit/base/test_more.c": HEAD}, "tests/unit/base/test_more.c:1"),
    ("unit_tests_are_listed", "a test that is built and not run",
     {"tests/unit/base/Makefile.inc": "check_PROGRAMS += %D%/test_low\n%C%_test_low_SOURCES = %D%/test_low.c\n"},
     "tests/unit/base/test_low.c:1"),
    ("unit_tests_are_listed", "a directory without a Makefile.inc",
     {"tests/unit/db/Makefile.inc": None}, "tests/unit/db/test_session.c:1"),
]

# What a rule must not report.
INNOCENT = [
    ("runtime_knows_no_properties", "words in comments",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n// the price of a property\n/* properties:\n   price */\n'}),
    ("runtime_knows_no_properties", "words within words",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nint priceless, improperly;\n'}),
    ("runtime_knows_no_properties", "Kafka's own properties",
     {"src/kafka/client.c": HEAD + 'char *s = "kafka.properties.%s";\n'}),
    ("includes_run_one_way", "a file that the build makes",
     {"src/http/high.c": HEAD + '#include "http/high.h"\n#include "config.h"\n#include "src/http/made.inc"\n'}),
    ("private_headers", "its own stem",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n#include "base/low_private.h"\n',
      "src/base/low_more.c": HEAD + '#include "base/low_private.h"\n'}),
    ("private_headers", "one that is named after its room, in a folder of the room",
     {"src/script/bind/db.c": HEAD + '#include "script/bind/db.h"\n#include "script/script_private.h"\n'}),
    ("tags_are_defined_once", "declared and used elsewhere",
     {"src/base/low.h": HEAD + "struct pl_once {\n};\n", "src/http/high.h": HEAD + "struct pl_once;\nstruct pl_once *pl_high_of(struct pl_once *o);\n"}),
    ("functions_begin_with_their_file", "plurals, the room's name before, the module's header, and what is static",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_lows_print(void)\n{\n}\n\nstatic int pl_x(void)\n{\n}\n',
      "src/base/low_more.c": HEAD + '#include "base/low.h"\n\nint pl_low_more_of(void)\n{\n}\n\nint pl_low_all(void)\n{\n}\n',
      "src/base/low.h": HEAD + "int pl_low_all(void);\n",
      "src/script/bind/db.c": HEAD + '#include "script/bind/db.h"\n\nint pl_bind_db(void)\n{\n}\n'}),
    ("public_functions_are_used", "a test uses it, or an inline function of a header",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_low_go(void)\n{\n}\n\nint pl_low_of(void)\n{\n}\n',
      "src/base/low.h": HEAD + "int pl_low_go(void);\nint pl_low_of(void);\nstatic inline int pl_low_in(void)\n{\n\treturn pl_low_of();\n}\n",
      "tests/unit/base/test_low.c": HEAD + "int main(void)\n{\n\treturn pl_low_go();\n}\n"}),
    ("comments_name_files_that_exist", "files that exist, folders, patterns and addresses",
     {"src/base/low.c": HEAD + "// base/low, base/low.h, low_more.c, script/bind/db, script/bind/, base/low*.c, http://x/base/zero\n",
      "HACKING.md": "`src/base/low.c`, `src/admin/cmd_<noun>_<verb>.c`\n"}),
    ("lines_are_narrow", "90 and 110 columns",
     {"src/base/low.c": HEAD + "// " + "x" * 87 + "\nint a; // " + "x" * 100 + "\n"}),
    ("comments_end_once", "a rule of dashes, a list, and a line of its own",
     {"src/base/low.c": HEAD + "// ---- rows\n\n// all fields\n\n// fields\n//\n//\n"}),
    ("manual_names_everything", "a hidden command",
     {"src/admin/cmd_lag.c": HEAD + 'const struct pl_command pl_cmd_x = {\n\t.noun = "x",\n\t.hidden = true,\n};\n'}),
    ("own_header_first", "a file without its own header",
     {"src/base/low_more.c": HEAD + '#include <stdio.h>\n#include "base/low.h"\n'}),
    ("functions_are_small", "six parameters, further ones of a format, and 50 lines",
     {"src/base/low.c": HEAD + '#include "base/low.h"\n\nint pl_low_go(int a, int b, int c, int d, int (*e)(int, int, int), char *f, ...)\n{\n'
      + "\tgo(1, 2, 3, 4, 5, 6, 7);\n" * 50 + "}\n"}),
    ("files_are_short", "600 lines",
     {"src/base/low.c": HEAD + "\n" * 598}),
    ("no_circles_of_files", "within a module of two files, with a private header",
     {"src/base/low.c": HEAD + '#include "base/low.h"\nvoid pl_low_go(void)\n{\n\tpl_low_more_go();\n}\n',
      "src/base/low_more.c": HEAD + '#include "base/low_private.h"\nvoid pl_low_more_go(void)\n{\n\tpl_low_go();\n}\n'}),
    ("no_circles_of_files", "within a module of three files, one of which is longer than the other by a word",
     {"src/base/low.c": HEAD + '#include "base/low.h"\nvoid pl_low_go(void)\n{\n\tpl_low_more_of_go();\n}\n',
      "src/base/low_more.c": HEAD + "int pl_low_more_go(void)\n{\n\treturn 0;\n}\n",
      "src/base/low_more_of.c": HEAD + "int pl_low_more_of_go(void)\n{\n\treturn pl_low_go();\n}\n"}),
    ("no_circles_of_files", "a struct that is named like a function",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nvoid pl_high_go(void)\n{\n\tpl_low_go();\n}\n',
      "src/base/low.c": HEAD + '#include "base/low.h"\nvoid pl_low_go(struct pl_high_go *go)\n{\n}\n'}),
    ("no_circles_of_files", "a comment that names a caller",
     {"src/http/high.c": HEAD + '#include "http/high.h"\nvoid pl_high_go(void)\n{\n\tpl_low_go();\n}\n',
      "src/base/low.c": HEAD + '#include "base/low.h"\n// For pl_high_go.\nvoid pl_low_go(void)\n{\n}\n'}),
    ("threads_are_stated", "the header says it",
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
        yield not found, f"{rule.__name__}: reports nothing in a good tree", found
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
