# shellcheck shell=bash
# The state folder: where it is, and one ./run at a time. Sourced by ./run; uses TOP and
# sets STATE and SOURCE.

# passable FOLDER: whether every user may enter FOLDER and all folders above it.
passable() {
  local folder=$1
  while :; do
    (($(stat -c '%#a' "$folder") & 1)) || return 1
    [[ $folder == / ]] && return 0
    folder=$(dirname "$folder")
  done
}

# plain_path PATH: whether autotools, Kafka's class paths and the 107 bytes of a socket
# address can all hold PATH.
plain_path() { [[ $1 =~ ^[A-Za-z0-9/._+=-]+$ && ${#1} -le 64 ]]; }

make_state() {
  if [[ -L $STATE && ! -d $STATE ]]; then rm -f "$STATE"; fi
  if [[ ! -d $STATE ]]; then
    if plain_path "$TOP" && { ((EUID != 0)) || passable "$TOP"; }; then
      mkdir "$STATE"
    else
      local elsewhere
      elsewhere=$(mktemp -d /var/tmp/plist-XXXXXX)
      ln -s "$elsewhere" "$STATE"
      printf '   state is kept in %s (the path of this folder is unsuitable)\n' "$elsewhere"
    fi
  fi
  [[ -w $STATE ]] || die "$STATE belongs to another user ($(stat -c %U "$STATE/")): run this command as that user, or use another clone"
  chmod 711 "$STATE/"
  STATE=$(cd "$STATE" && pwd -P)
  mkdir -p "$STATE/log" "$STATE/test"
  chmod 711 "$STATE/test"
  # The source under a path that autotools accepts.
  SOURCE=$TOP
  if ! plain_path "$TOP"; then
    ln -sfn "$TOP" "$STATE/source"
    SOURCE="$STATE/source"
  fi
  export PLIST_SOURCE=$SOURCE PLIST_KAFKA_LIB="$STATE/kafka/lib" PLIST_TEST_FOLDER="$STATE/test"
}

# One ./run at a time in this clone. Other clones are independent.
lock_state() {
  exec 9>"$STATE/lock"
  if ! flock -n 9; then
    printf '   another ./run is active in this folder; waiting for it\n'
    flock -w 3600 9 || die "the other ./run did not end within an hour"
  fi
}
