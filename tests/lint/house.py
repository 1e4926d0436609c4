#!/usr/bin/python3
# The rules of the house, as far as a machine can check them: TAP, one line per rule.
#
# Reads only the source tree (PL_TOP_SRCDIR, otherwise the one that contains this file)
# and changes nothing. `house_self_test.py` proves that each rule sees what it forbids.
# Run by `make check`; by hand: tests/lint/house.py
import os
import pathlib
import re
import sys

# Each room, and the rooms that it may include besides itself, all listed above it.
ROOMS = {
    "base": "",
    "config": "base",
    "auth": "base config",
    "db": "base config",
    "kafka": "base config",
    "record": "base config",
    "event": "base config kafka record",
    "lag": "base config event",
    "store": "base config db record",
    "seen": "base config record store",
    "compare": "base config db record store",
    "script": "base config record store seen",
    "decide": "base config record event script",
    "verify": "base config record event script decide",
    "relay": "base config db kafka record event script",
    "apply": "base config db kafka record event lag store script decide",
    "heal": "base config db record store compare",
    "integrity": "base config db record store script",
    "audit": "base config db record event store compare",
    "tls": "base config",
    "http": "base config auth record store seen script tls",
    "ops": "base config auth db record event lag store seen script verify relay apply heal integrity audit tls http",
    "admin": "base config auth db kafka record event lag store compare script decide verify relay apply integrity audit tls http ops",
}
LINES_MAX = 600
CODE_COLUMNS, COMMENT_COLUMNS = 110, 90
PARAMETERS_MAX, FUNCTION_LINES_MAX = 6, 50
CALLBACKS = ("on_request",)  # libmicrohttpd defines their parameters

# Public functions that do not begin with the stem of their file, each for a reason.
ELSEWHERE = {
    "base/mem": "pl_malloc pl_calloc pl_realloc pl_strdup pl_strndup pl_arena_",   # known by these names everywhere
    "base/clock": "pl_now_us pl_mono_us",                                          # likewise
    "base/error": "pl_die",
    "admin/messages": "pl_say pl_warn pl_fail pl_say_diagnostics pl_confirm",      # the messages of commands, with short names
}
HERE = pathlib.Path(__file__).resolve()


def c_files(root):
    return sorted(p for p in (root / "src").rglob("*") if p.suffix in (".c", ".h"))


def code_files(root):
    """All files of code."""
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


def room_of(root, path):
    """The room of a source, also if it is in a folder of the room; "" for the programs, which may include all rooms."""
    return path.relative_to(root / "src").parts[0] if path.parent != root / "src" else ""


def includes_run_one_way(root):
    """a room includes only itself and the rooms that it is built on"""
    seen = set()
    for room, below in ROOMS.items():
        for other in below.split():
            if other not in seen:
                yield HERE, 1, f"the table of rooms: {room} may include {other}, which is not listed above it"
        seen.add(room)
    for path in c_files(root):
        room = room_of(root, path)
        if not room:
            continue
        if room not in ROOMS:
            yield path, 1, f"{room}/ is not a room; the rooms are {' '.join(ROOMS)}"
            continue
        for number, name, quoted in includes(path):
            other = name.split("/")[0]
            if not quoted:
                continue
            if name == "config.h" or (name.startswith(f"src/{room}/") and name.endswith(".inc")):
                continue  # autoconf's; a file made by the build
            if "/" not in name or other not in ROOMS:
                yield path, number, f'"{name}" is not named by its room'
            elif other != room and other not in ROOMS[room].split():
                yield path, number, f"{room}/ includes {name}: {room}/ is not built on {other}/"


def private_headers(root):
    """a private header is included by the files of its own stem only"""
    for path in c_files(root):
        for number, name, quoted in includes(path):
            if not quoted or not name.endswith("_private.h"):
                continue
            folder, stem = os.path.split(name.removesuffix("_private.h"))
            if path.parent == root / "src" / folder and (path.stem == stem or path.stem.startswith(stem + "_")):
                continue
            if stem == folder and room_of(root, path) == folder:
                continue  # named after its room: private to the room
            yield path, number, f"includes {name}, which is private to {folder}/{stem}"


def own_header_first(root):
    """a .c file includes its own header first"""
    for path in c_files(root):
        if path.suffix != ".c" or path.parent == root / "src":
            continue
        own = f"{path.parent.relative_to(root / 'src')}/{path.stem}.h"
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


def threads_are_stated(root):
    """a module says which threads may call it"""
    for path in c_files(root):
        if path.suffix != ".c" or room_of(root, path) == "admin":
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
    # Two other uses of the plural are allowed: the key of Kafka's own settings, and JSON
    # Schema's name for the members of an object.
    theirs = re.compile(r'kafka\.properties|"properties"|cJSON \*properties|\(properties,|add_twin\(schema, properties')
    for path in c_files(root):
        for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
            if room_of(root, path) in ("config", "kafka", "tls"):
                line = theirs.sub("", line)
            for match in word.finditer(line):
                yield path, number, f"`{match.group(0)}`: nothing about properties is compiled in"


def sources_are_listed(root):
    """each source is built and distributed: its room's Makefile.inc lists it"""
    for path in c_files(root):
        room = root / "src" / room_of(root, path)
        makefile = room / "Makefile.inc"
        if f"%D%/{path.relative_to(room)}" not in (makefile.read_text() if makefile.exists() else "").split():
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


def tags_are_defined_once(root):
    """a tag, even of a file alone, is defined in one place"""
    seen = {}
    for path in c_files(root):
        for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
            for tag in re.findall(r"\b(?:struct|union|enum)\s+(\w+)\s*\{", line):
                if tag in seen:
                    yield path, number, f"{tag} is also defined in {seen[tag].relative_to(root)}"
                seen.setdefault(tag, path)


FUNCTION = re.compile(r"^(?!static\b|typedef\b)[A-Za-z_][\w \t*]*?[ *]\n?(pl_\w+)\([^;{}]*\)\s*\n?\{", re.M)


def parameters(text, start):
    """How many parameters the list at text[start] has, just behind its "(", and where it ends; "..." does not count."""
    depth, commas, at = 1, 0, start
    while depth and at < len(text):
        depth += (text[at] in "({[") - (text[at] in ")}]")
        commas += text[at] == "," and depth == 1
        at += 1
    return commas + 1 - text[start:at].rstrip(") \n").endswith("..."), at


DEFINED = re.compile(r"^(?!typedef\b|return\b|else\b)[a-z_][\w \t*]*?[ *]\n?([a-z_]\w*)\(", re.M)


def functions_are_small(root):
    """a function has at most 6 parameters and 50 lines"""
    for path in c_files(root):
        text = without_comments(path.read_text())
        for match in DEFINED.finditer(text):
            n, end = parameters(text, match.end())
            after = re.match(r"\s*(?:__attribute__\(\(.*?\)\)\s*)?([;{])", text[end:])
            if not after:
                continue
            line = text.count("\n", 0, match.start()) + 1
            if n > PARAMETERS_MAX and match.group(1) not in CALLBACKS:
                yield path, line, f"{match.group(1)} has {n} parameters; put those that belong together into a struct"
            lines = text.count("\n", end + after.end(), text.find("\n}\n", end))
            if after.group(1) == "{" and lines > FUNCTION_LINES_MAX:
                yield path, line, f"{match.group(1)} has {lines} lines; over {FUNCTION_LINES_MAX} it is two functions"


def functions_begin_with_their_file(root):
    """a public function begins with the stem of its file, or of the header of its module"""
    declared = {}
    for path in c_files(root):
        if path.suffix == ".h":
            for name in re.findall(r"\b(pl_\w+)\(", without_comments(path.read_text())):
                declared.setdefault(name, path)
    for path in c_files(root):
        folder = path.parent.name
        if path.suffix != ".c" or path.parent == root / "src":
            continue

        def begins(name, stem):
            # pl_table_new, pl_tables_print; apply/batch.c may say pl_apply_batch_new
            return re.match(rf"pl_(?:{folder}_)?{re.escape(stem)}(?:e?s)?(?:_|$)", name)

        text = without_comments(path.read_text())
        for match in FUNCTION.finditer(text):
            name = match.group(1)
            header = declared.get(name)
            if begins(name, path.stem):
                continue
            if header and header.parent == path.parent and header.stem.removesuffix("_private") == folder and begins(name, folder):
                continue  # the header of the room
            parts = path.stem.split("_")
            modules = ["_".join(parts[:n]) for n in range(1, len(parts))]
            if any(begins(name, module) and any(path.with_name(module + end).exists() for end in (".c", ".h", "_private.h")) for module in modules):
                continue  # a module of several files
            if any(name.startswith(word) for word in ELSEWHERE.get(f"{folder}/{path.stem}", "").split()):
                continue
            yield path, text.count("\n", 0, match.start()) + 1, f"{name} does not begin with pl_{path.stem}_"


def public_functions_are_used(root):
    """a public function is used outside its file, at least by a test"""
    texts = {path: without_comments(path.read_text()) for path in c_files(root) + sorted((root / "tests").rglob("*.[ch]"))}
    users = {}
    for path, text in texts.items():
        for name in set(re.findall(r"\bpl_\w+", text)):
            users.setdefault(name, []).append(path)
    for path, text in texts.items():
        if path.suffix != ".c" or not path.is_relative_to(root / "src"):
            continue
        for match in FUNCTION.finditer(text):
            name = match.group(1)
            declares = re.compile(rf"^(?!\s)[^;{{}}]*\b{name}\([^{{}}]*?\)[^{{}};]*;", re.M)  # a header that does no more than that uses nothing
            if not any(user != path and (user.suffix == ".c" or name in declares.sub("", texts[user])) for user in users[name]):
                yield path, text.count("\n", 0, match.start()) + 1, f"{name} is used in no other file; it can be static, or go"


def modules_of(root):
    """path -> module: "script/run" for run.c and run.h, and for run_more.c if it has no header"""
    sources = c_files(root)
    stems = {path.with_suffix("") for path in sources}
    private = {path.with_name(path.name.removesuffix("_private.h")) for path in sources if path.name.endswith("_private.h")}

    def own_header(stem):
        return stem in private or stem.with_name(stem.name + ".h").exists()

    modules = {}
    for path in sources:
        stem = path.with_suffix("")
        stem = stem.with_name(stem.name.removesuffix("_private"))
        parts = stem.name.split("_")
        own = path.with_suffix(".h").exists() and not path.name.endswith("_private.h")
        for n in [] if own else range(len(parts) - 1, 0, -1):
            shorter = stem.with_name("_".join(parts[:n]))
            if shorter in stems or shorter in private:
                stem = shorter
                if own_header(shorter):
                    break
        modules[path] = str(stem.relative_to(root / "src"))
    return modules


def circles(graph):
    """The strongly connected components of more than one node (Tarjan), each sorted."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def no_circles_of_files(root):
    """no circle of files that call each other, but within a module of several files"""
    modules, texts = modules_of(root), {path: without_comments(path.read_text()) for path in c_files(root)}
    defined = {}
    for path, text in texts.items():
        if path.suffix == ".c":
            for match in FUNCTION.finditer(text):
                defined[match.group(1)] = modules[path]
            for name in re.findall(r"^(?:const )?(?:struct \w+|[a-zA-Z_]\w*) (pl_\w+)(?:\[\w*\])? =", text, re.M):
                defined[name] = modules[path]
    graph, why = {}, {}
    for path, text in texts.items():
        if path.suffix != ".c":
            continue  # a header declares, and calls little
        for name in re.findall(r"(?<!struct )(?<!enum )\bpl_\w+", text):
            other = defined.get(name)
            if other and other != modules[path]:
                graph.setdefault(modules[path], set()).add(other)
                why.setdefault((modules[path], other), name)
    for path in texts:  # and headers that include each other
        for _, name, quoted in includes(path) if path.suffix == ".h" else ():
            if quoted and (root / "src" / name) in texts and (root / "src" / name) != path:
                graph.setdefault(f"{path.relative_to(root / 'src')}", set()).add(name)
    for circle in circles(graph):
        ties = [f"{a} -> {b} ({why.get((a, b), 'includes it')})" for a in circle for b in circle if b in graph.get(a, ())]
        path = next(p for p in sorted(texts) if modules[p] == circle[0] or p == root / "src" / circle[0])
        yield path, 1, f"a circle of {len(circle)}: {'; '.join(ties)}"


def comments_name_files_that_exist(root):
    """a file that a comment names exists"""
    rooms = "|".join(ROOMS)
    named = re.compile(rf"(?<![\w/.<\"-])(?:(src|tests/unit)/)?((?:{rooms})/[a-z_0-9]+(?:/[a-z_0-9]+)?)(\.[ch])?(?![\w/*<-])")
    alone = re.compile(r"(?<![\w/.*-])([a-z_0-9]+\.[ch])(?!\w)")
    texts = [(path, "//") for path in c_files(root)] + [(root / "HACKING.md", "")]
    names = {path.name for path in c_files(root)} | {path.name for path in (root / "tests").rglob("*.[ch]")}
    for path, mark in texts:
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            at = line.find(mark)
            if at < 0 or line.lstrip().startswith("#include"):
                continue
            for match in named.finditer(line, at):
                base = root / (match.group(1) or "src") / match.group(2)
                if not any(base.with_name(base.name + suffix).exists() for suffix in ([match.group(3)] if match.group(3) else ["", ".c", ".h"])):
                    yield path, number, f"there is no {match.group(0)}"
            for match in alone.finditer(line, at) if mark else ():
                if match.group(1) not in names and match.group(1) not in FOREIGN:
                    yield path, number, f"there is no file {match.group(1)}"


def lines_are_narrow(root):
    """a comment has at most 90 columns, a line of C at most 110"""
    for path in code_files(root):
        if path.suffix == ".sql" and re.match(r"00[1-9]_", path.name):
            continue  # an applied migration never changes
        wide = wide_lines(path)
        if wide:
            yield path, wide[0], f"{len(wide)} lines are too wide"


def wide_lines(path):
    """The numbers of the lines that are too wide, a tab being eight columns."""
    mark = {".c": "//", ".h": "//", ".lua": "--", ".sql": "--"}.get(path.suffix, "#")
    code = CODE_COLUMNS if path.suffix in (".c", ".h") else 10000
    wide = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if len(line.expandtabs(8)) > (COMMENT_COLUMNS if line.lstrip().startswith(mark) and not line.startswith("#!") else code):
            wide.append(number)
    return wide


def comments_end_once(root):
    """a comment does not say its last line twice, as after an edit"""
    for path in code_files(root):
        mark = {".c": "//", ".h": "//", ".lua": "--", ".sql": "--"}.get(path.suffix, "#")
        before = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = line.strip()[len(mark):].strip() if line.strip().startswith(mark) else ""
            if re.search(r"[a-z.]{3}", text) and (before == text or before.endswith(f" {text}")):
                yield path, number, "repeats the end of the line above"
            before = text


def manual_names_everything(root):
    """every key, command, metric and table is in the manual"""
    pages = {path.name: re.sub(r"\\&", "", path.read_text()) for path in (root / "man").glob("*.[1-9]")} if (root / "man").exists() else {}
    whole = "\n".join(pages.values())

    def missing(path, pattern, page, what):
        text = path.read_text()
        for match in re.finditer(pattern, text, re.M):
            words = [word for word in match.groups() if word]
            for word in words if what != "command" else [" ".join(words)]:
                if not re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", pages.get(page, "") if page else whole):
                    yield path, text.count("\n", 0, match.start()) + 1, f"{what} `{word}` is not in {page or 'any page'}"

    schema = root / "src" / "config" / "schema.c"
    if schema.exists():
        yield from missing(schema, r'^\{ "([^"]+)", PL_KEY_(?!MAP|NAMED|SEQUENCE)', "plist.yaml.5", "key")
    for path in sorted((root / "src" / "ops").glob("*.c")):
        yield from missing(path, r'(?:gauge|counter|family)\w*\(buf, "((?:plist|process)_[a-z_]+)"', "plistd.8", "metric")
    for path in sorted((root / "src" / "admin").glob("cmd_*.c")):
        yield from missing(path, r'\.noun = "([a-z-]+)",(?:\s*\.verb = "([a-z-]+)",)?(?![^}]*\.hidden = true)', "plist-admin.8", "command")
    for path in sorted((root / "sql").glob("*.sql")):
        yield from missing(path, r"^CREATE TABLE (?:plist\.)?(?!plist_migrations)([a-z_]+) \(", None, "table")


def manual_pages_refer_to_each_other(root):
    """a manual page refers only to pages that exist, and each one to plist(7)"""
    pages = sorted((root / "man").glob("*.[1-9]")) if (root / "man").exists() else []
    names = {path.name for path in pages}
    for path in pages:
        text = path.read_text()
        for match in re.finditer(r"^\.Xr (plist\S*) (\d)", text, re.M):
            if ".".join(match.groups()) not in names:
                line = text.count("\n", 0, match.start()) + 1
                yield path, line, f"there is no page {match[1]}({match[2]})"
        if path.name != "plist.7" and "plist.7" in names and not re.search(r"^\.Xr plist 7", text, re.M):
            yield path, 1, "it does not refer to plist(7)"


FOREIGN = {"config.h", "rdkafka_mock.h", "rdkafka.h", "microhttpd.h", "lua.h", "lobject.h", "lstrlib.c", "ltablib.c", "lvm.c", "lopcodes.h",
           "libpq-fe.h", "uthash.h", "utlist.h", "cmocka.h", "server.js"}


RULES = [
    includes_run_one_way,
    private_headers,
    own_header_first,
    head_comments,
    threads_are_stated,
    files_are_short,
    lines_are_narrow,
    comments_end_once,
    tags_are_defined_once,
    functions_are_small,
    functions_begin_with_their_file,
    public_functions_are_used,
    no_circles_of_files,
    comments_name_files_that_exist,
    runtime_knows_no_properties,
    sources_are_listed,
    unit_tests_are_listed,
    manual_names_everything,
    manual_pages_refer_to_each_other,
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
