#!/usr/bin/python3
# The programs are built with the protections that configure.ac asks for. TAP.
#
# Reads the programs and the library with readelf, so a flag that is lost on its way to
# the compiler or the linker is noticed. What a build does without is skipped: the
# compiler does not know it, the user has turned it off, or sanitizers take its place.
import os
import pathlib
import re
import subprocess
import sys

BUILD = pathlib.Path(os.environ.get("PL_TOP_BUILDDIR") or "build")
PROGRAMS = ("plistd", "plist-admin")


def run(*command):
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def variables():
    """What configure has decided, from the Makefile."""
    return dict(re.findall(r"^(\w+) = *(.*)$", (BUILD / "Makefile").read_text(), re.MULTILINE))


MAKE = variables()
CFLAGS = f" {MAKE['PL_FORTIFY']} {MAKE['PL_HARDENING']} {MAKE.get('CPPFLAGS', '')} {MAKE.get('CFLAGS', '')} "


def asked(flag, among=None):
    return f" {flag} " in (among or f"{CFLAGS} {MAKE['PL_HARDENING_LD']} ")


def readelf(*arguments):
    return run("readelf", "-W", *map(str, arguments))


def not_in(words, program, *options):
    text = readelf(*options, BUILD / program)
    return [f"{program}: {' '.join(options)} does not show {word}" for word in words if not re.search(word, text)]


# Each check is a sentence, whether it applies, and a function that tells the faults of
# one program.


def is_position_independent(program):
    return not_in([r"Type:\s+DYN"], program, "-h") + not_in([r"Flags:.*\bPIE\b"], program, "-d")


def is_bound_at_start(program):
    return not_in([r"\(FLAGS\)\s+BIND_NOW", r"Flags:.*\bNOW\b"], program, "-d") + not_in(["GNU_RELRO"], program, "-l")


def has_no_writable_code(program):
    text = readelf("-l", BUILD / program)
    faults = [f"{program}: {line.strip()}" for line in text.splitlines() if re.search(r"\bRWE\b", line)]
    return faults if "GNU_STACK" in text else [*faults, f"{program}: has no GNU_STACK"]


def has_no_search_path(program):
    lines = readelf("-d", BUILD / program).splitlines()
    return [f"{program}: {line.strip()}" for line in lines if re.search("R(UN)?PATH|TEXTREL", line)]


def notices_a_full_stack_frame(program):
    return not_in(["__stack_chk_fail"], program, "--dyn-syms")


def checks_sizes(program):
    return not_in([r"__\w*(printf|memcpy|strcpy|read|recv)_chk\b"], program, "--dyn-syms")


def marks_branch_targets(program):
    """Of our own code: the program itself is marked only if the files of the C library are."""
    library = BUILD / "libplist.a"
    faults, member = [], None
    for line in readelf("-n", library).splitlines() + ["File: end"]:
        if line.startswith("File: "):
            if member:
                faults.append(f"{member}: is not marked IBT, SHSTK")
            member = line.removeprefix("File: ")
        elif "IBT, SHSTK" in line:
            member = None
    return faults[:5]


CHECKS = [
    ("the programs are loaded at any address", asked("-pie"), is_position_independent),
    ("their tables of functions are resolved at start and read-only then", asked("-Wl,-z,now"), is_bound_at_start),
    ("no memory is both writable and executable", True, has_no_writable_code),
    ("libraries are looked for where the system looks for them", True, has_no_search_path),
    ("a frame that was overrun ends the program", asked("-fstack-protector-strong") and not asked("-fno-stack-protector"), notices_a_full_stack_frame),
    ("the C library checks the sizes of buffers", bool(MAKE["PL_FORTIFY"]), checks_sizes),
    ("our code marks its functions as targets of calls", asked("-fcf-protection=full") and not asked("-fcf-protection=none"), marks_branch_targets),
]
# What Debian's compiler knows. A check of configure.ac that fails for another reason
# would leave it out in silence.
KNOWN_TO_GCC_12 = ("-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection=full", "-fno-delete-null-pointer-checks",
                   "-fno-strict-overflow", "-ftrivial-auto-var-init=zero", "-pie", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack")


def lost_flags():
    return [f"configure has not taken {flag}, which gcc knows" for flag in KNOWN_TO_GCC_12 if not asked(flag)]


def is_debians_gcc():
    command = MAKE["CC"].split() or ["cc"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\bDebian (\d+)\.", version)
    return os.uname().machine == "x86_64" and number is not None and int(number[1]) >= 12


def main():
    failed = 0
    print(f"1..{len(CHECKS) + 1}")
    for number, (sentence, applies, check) in enumerate(CHECKS, 1):
        if not applies:
            print(f"ok {number} - {sentence} # SKIP not in this build")
            continue
        faults = [fault for program in PROGRAMS for fault in check(program)]
        print(f"{'not ' if faults else ''}ok {number} - {sentence}")
        for fault in faults:
            print(f"# {fault}")
        failed += bool(faults)
    sentence, faults = "configure takes every flag that the compiler knows", lost_flags() if is_debians_gcc() else []
    print(f"{'not ' if faults else ''}ok {len(CHECKS) + 1} - {sentence}{'' if is_debians_gcc() else ' # SKIP another compiler'}")
    for fault in faults:
        print(f"# {fault}")
    return 1 if failed or faults else 0


if __name__ == "__main__":
    sys.exit(main())
