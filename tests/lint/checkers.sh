#!/bin/sh
# Runs the packaged checkers. TAP. luacheck checks the Lua tree, mandoc the man pages,
# clang-format C, shellcheck the scripts.
#
# A checker that is not installed is skipped on a developer's machine, and fails if CI
# is set.
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

# Checks the exposure of the unit as systemd measures it, which may be at most 1.5.
service_exposure() {
  unit=$(mktemp -d)/plistd@us.service
  sed -e 's|@sbindir@/plistd|/bin/true|' -e 's|@sysconfdir@|/etc|' 'conf/systemd/plistd@.service.in' >"$unit"
  systemd-analyze security --offline=true --threshold=15 --no-pager "$unit"
  exposure=$?
  rm -r "$(dirname "$unit")"
  return $exposure
}

echo 1..5
check "Lua keeps to .luacheckrc" luacheck --no-color --quiet lua tests/spec tests/policies/good tests/policies/gallery
check "man pages are what mandoc expects" mandoc -Tlint -W warning man/*.[1-9]
# shellcheck disable=SC2046
check "shell scripts are what shellcheck expects" shellcheck -S warning -x run .ci/run tests/support/*.sh tests/support/with-postgres tests/spec/specs.sh \
  tests/lint/checkers.sh conf/postgres/roles.sh build-aux/sbom.sh $(grep -lE '^#!.*sh$' tests/campaigns/*)
# shellcheck disable=SC2046
check "C is laid out as .clang-format says (make format)" clang-format-14 --dry-run -Werror --ferror-limit=1 \
  $(find src tests -name '*.[ch]')
if command -v systemd-analyze >/dev/null; then
  check "the exposure of the systemd unit is within its limit" service_exposure
else
  echo "ok $((number + 1)) - the exposure of the systemd unit is within its limit # SKIP systemd-analyze is not installed"
fi
exit $failed
