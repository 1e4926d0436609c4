# shellcheck shell=bash
# The Debian packages that plist needs, and how they are installed. Sourced by ./run.

# shellcheck disable=SC2034 # used by ./run
BUILD_PACKAGES=(gcc libc6-dev make autoconf automake pkg-config liblua5.4-dev libpq-dev librdkafka-dev libmicrohttpd-dev
  libgnutls28-dev
  libyaml-dev libcjson-dev libssl-dev libcurl4-openssl-dev libsmartcols-dev libgmp-dev uthash-dev)
SERVE_PACKAGES=(postgresql nginx kcat python3 python3-psycopg2 python3-yaml)
TEST_PACKAGES=(openssl curl libcmocka-dev lua5.4 lua-busted lua-check mandoc shellcheck pgbouncer python3-pytest python3-pytest-xdist
  clang-format-14 git spin)

missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}

# unavailable_packages PACKAGE...: prints those that apt has no candidate for.
unavailable_packages() {
  local package candidate
  for package in "$@"; do
    candidate=$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^  Candidate: //p')
    [[ -n $candidate && $candidate != '(none)' ]] || printf '%s\n' "$package"
  done
}

# install_packages PACKAGE...: installs those that are missing. Returns 1 with a message
# if that fails.
install_packages() {
  local missing absent
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  step "installing ${missing[*]}"
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    warn "neither root nor sudo is available. As root:  apt-get install ${missing[*]}"
    return 1
  fi
  if ((EUID != 0)) && ! sudo -v; then
    warn "sudo refused. As root:  apt-get install ${missing[*]}"
    return 1
  fi
  watched "apt-get update" "$STATE/log/apt-update.log" apt update || warn "apt-get update failed; using the package lists that apt has"
  mapfile -t absent < <(unavailable_packages "${missing[@]}")
  if ((${#absent[@]})); then
    warn "apt has no package: ${absent[*]} (see apt-cache policy; is sources.list complete?)"
    return 1
  fi
  watched "apt-get install" "$STATE/log/apt-install.log" apt install --no-install-recommends "${missing[@]}"
}

need() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    die "this script installs Debian packages, but there is no apt-get. Needed: $*"
  fi
  install_packages "$@" || die "cannot continue without: $(missing_packages "$@" | tr '\n' ' ')"
}

# promtool checks the metrics. It is unpacked from Debian's package: installing the
# package would start a server.
fetch_promtool() {
  local tools="$STATE/tools"
  command -v promtool >/dev/null && return 0
  if [[ ! -x $tools/promtool ]]; then
    step "fetching promtool"
    rm -rf "$tools.new" && mkdir -p "$tools.new" "$tools"
    (cd "$tools.new" && watched "apt-get download prometheus" "$STATE/log/promtool.log" apt-get -q download prometheus) || return 0
    dpkg-deb -x "$tools.new"/prometheus_*.deb "$tools.new" && mv "$tools.new/usr/bin/promtool" "$tools/promtool"
    rm -rf "$tools.new"
  fi
  PATH="$tools:$PATH"
}
