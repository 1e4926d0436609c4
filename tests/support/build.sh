# shellcheck shell=bash
# Configures and builds plist outside of the source tree. Sourced by ./run.

# build FOLDER FLAG...: builds in STATE/FOLDER. Configures again only if the flags have
# changed.
build() {
  local folder="$STATE/$1" flags
  shift
  flags="$* $SOURCE"
  [[ ! -e $TOP/config.status ]] || die "the source tree is configured in place; run 'make distclean' in it first"
  step "building plist"
  if [[ ! -x $TOP/configure || ! -f $TOP/Makefile.in ]]; then
    (cd "$SOURCE" && watched "autoreconf" "$STATE/log/autoreconf.log" autoreconf -i) || exit 1
  fi
  if [[ $(cat "$folder/.flags" 2>/dev/null) != "$flags" || ! -f $folder/Makefile ]]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && watched "configure" "$STATE/log/configure.log" "$SOURCE/configure" "$@") || exit 1
    printf '%s\n' "$flags" >"$folder/.flags"
  fi
  (cd "$folder" && watched "make" "$STATE/log/make.log" make "-j$(nproc)") || exit 1
  export PLIST_BUILD=$folder
}
