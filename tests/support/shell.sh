# shellcheck shell=bash
# Messages, and running a command while showing its progress. Sourced by ./run.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then BOLD=$'\e[1m' RED=$'\e[31m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else BOLD='' RED='' YELLOW='' PLAIN=''; fi

step() { printf '%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
warn() { printf '%s!! %s%s\n' "$YELLOW" "$*" "$PLAIN" >&2; }
die() {
  printf '%s** %s%s\n' "$RED" "$*" "$PLAIN" >&2
  exit 1
}

# watched WHAT LOG COMMAND...: runs a command with its output in LOG. Shows progress
# meanwhile, and the end of LOG if the command fails.
watched() {
  local what=$1 log=$2 pid shown=0 status=0
  shift 2
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # shellcheck disable=SC2064 # this pid, now
  trap "kill $pid 2>/dev/null || true; exit 130" INT TERM
  SECONDS=0
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    if [[ -t 1 ]]; then
      printf '\r\e[K   %s  %d s  %s' "$what" "$SECONDS" "$(tail -n 1 "$log" | tr -dc '[:print:]' | cut -c 1-70)"
    elif ((SECONDS - shown >= 15)); then
      shown=$SECONDS
      printf '   %s  %d s  %s\n' "$what" "$SECONDS" "$(tail -n 1 "$log" | tr -dc '[:print:]' | cut -c 1-90)"
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if [[ -t 1 ]]; then printf '\r\e[K'; fi
  if ((status)); then
    printf '   %s: failed after %d s\n' "$what" "$SECONDS"
    tail -n 30 "$log" | sed 's/^/   | /'
    printf '   full log: %s\n' "$log"
  else
    printf '   %s: done in %d s\n' "$what" "$SECONDS"
  fi
  return "$status"
}
