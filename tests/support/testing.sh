# shellcheck shell=bash
# The steps of `./run test`: the unit tests and the integration tests, and their counts.
# Sourced by ./run.
#
# Tests run beside others, since most of them wait for servers, and on a small machine
# this can cost one of them its deadline. So a few that fail are run once more, alone
# and with new servers, and that result counts, unless a server has crashed. The end of
# the output names them: a test that is named there again and again is wrong, or has
# found something.

AGAIN_MAX=10     # if more tests fail, the machine was not the reason
AGAIN_SECONDS=420

passed=0 failed=0 skipped=0 again=()

# unit_results RESULT...: a line for each test of the build's last `make check` that had
# one of these results, from automake's own files.
unit_results() {
  local IFS='|'
  find "$STATE/build-test" -name '*.trs' -exec cat {} + | sed -nE "s/^:test-result: ($*).*/\1/p"
}

# run_make TARGET JOBS LOG: make's own lines show the progress.
run_make() {
  make -C "$STATE/build-test" -k "-j$2" "$1" 2>&1 | tee "$3" | grep -E '^(PASS|FAIL|ERROR|SKIP|XPASS|XFAIL):|rror:' || true
  grep -q '^# TOTAL:' "$3"
}

# make_check: units, specs, lint, corpora.
make_check() {
  local log="$STATE/log/check.log" red=()
  step "unit tests, specs, lint"
  find "$STATE/build-test" -name '*.trs' -delete
  if ! run_make check "$((3 * $(nproc)))" "$log"; then
    tail -n 30 "$log"
    failed=$((failed + 1)) # make ended before automake could count
    return
  fi
  mapfile -t red < <(sed -nE 's/^(FAIL|ERROR|XPASS): //p' "$log" | sort -u)
  if ((${#red[@]})); then
    grep -hE '^(not ok|ERROR|FAIL)' "$STATE/build-test/test-suite.log" | head -n 60 || true
    cp "$STATE/build-test/test-suite.log" "$STATE/log/check-failed.log"
    printf '   full log: %s\n' "$STATE/log/check-failed.log"
    if ((${#red[@]} <= AGAIN_MAX)) && ! grep -qE 'Segmentation fault|Abort(ed)?\b' "$STATE/log/check-failed.log"; then
      step "again, one at a time: what failed"
      if run_make recheck 1 "$STATE/log/recheck.log"; then again+=("${red[@]}"); fi
    fi
  fi
  passed=$((passed + $(unit_results PASS | wc -l))) skipped=$((skipped + $(unit_results SKIP | wc -l)))
  failed=$((failed + $(unit_results FAIL ERROR XPASS | wc -l)))
}

# pytest_run LIMIT ARGUMENT...: sets p, f and s, the counts of passed, failed and
# skipped tests, and `red`, the failed ones.
pytest_run() {
  local limit=$1
  shift
  rm -f "$STATE/test/counts" "$STATE/test/counts.failed"
  (cd "$TOP" && PLIST_TEST_COUNTS="$STATE/test/counts" timeout --foreground --signal=INT --kill-after=60 "$limit" \
    "$PYTHON" -B -m pytest -v --tb=short -p no:cacheprovider --durations=25 -rs "$@") || true
  mapfile -t red < <(cat "$STATE/test/counts.failed" 2>/dev/null)
  read -r p f s 2>/dev/null <"$STATE/test/counts"
}

# run_integration ONCE|AGAIN ARGUMENT...: runs integration tests; with AGAIN, a few that
# fail are run again.
run_integration() {
  local may=$1 p=0 f=0 s=0 red=() first=()
  shift
  step "integration tests (broker: $BROKER)"
  if ! pytest_run 2100 "$@" || ((p + f + s == 0)); then
    failed=$((failed + 1)) # pytest ended before it could count
    return
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  if [[ $may == AGAIN ]] && ((f <= AGAIN_MAX && ${#red[@]})); then
    first=("${red[@]}")
    step "again, alone and with new servers: what failed"
    if pytest_run "$AGAIN_SECONDS" "${first[@]}"; then
      again+=("${first[@]}")
      passed=$((passed + p)) failed=$((failed - p))
    fi
  fi
}

# report_counts: the last lines of a run. Fails if a test has.
report_counts() {
  if ((${#again[@]})); then
    printf '\nFailed beside other tests, and were run again alone:\n'
    printf '  %s\n' "${again[@]}"
  fi
  printf '%d passed, %d failed' "$passed" "$failed"
  if ((skipped)); then printf ', %d skipped' "$skipped"; fi
  printf '\n'
  ((failed == 0))
}
