#!/bin/sh
# What the packaged checkers say: luacheck of the Lua tree, mandoc of the man pages, shellcheck of the scripts. TAP.
#
# A checker that is not installed is skipped on a developer's machine, and a failure where CI is set.
cd "${PL_TOP_SRCDIR:-.}" || exit 99

number=0
failed=0

# check WHAT PROGRAM ARGUMENT…
check() {
  what=$1
  shift
  number=$((number + 1))
  if ! command -v "$1" >/dev/null; then
    if [ -n "${CI:-}" ]; then
      echo "not ok $number - $what: $1 is not installed"
      failed=1
    else
      echo "ok $number - $what # SKIP $1 is not installed"
    fi
  elif found=$("$@" 2>&1); then
    echo "ok $number - $what"
  else
    echo "not ok $number - $what"
    echo "$found" | sed 's/^/# /'
    failed=1
  fi
}

echo 1..3
check "Lua keeps to .luacheckrc" luacheck --no-color --quiet lua tests/spec tests/policies/good tests/policies/gallery
check "man pages are what mandoc expects" mandoc -Tlint -W warning man/*.[1-9]
check "shell scripts are what shellcheck expects" shellcheck -S warning -x run .ci/run tests/support/with-postgres tests/spec/specs.sh \
  tests/lint/checkers.sh
exit $failed
