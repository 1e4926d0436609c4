# shellcheck shell=bash
# Java and Apache Kafka's jars, or the embedded broker if they are not available. Sourced
# by ./run.

# java_home: prints the home of a Java that Kafka runs on (17 or newer); returns 1 if
# there is none.
java_home() {
  local java version
  for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [[ -x $java ]] || continue
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if ((${version:-0} >= 17)); then
      dirname "$(dirname "$(readlink -f "$java")")"
      return 0
    fi
  done
  return 1
}

need_java() {
  local package
  if ! JAVA_HOME=$(java_home); then
    for package in openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless; do
      [[ -z $(unavailable_packages "$package") ]] && break
    done
    install_packages "$package" || return 1
    JAVA_HOME=$(java_home) || return 1
  fi
  export JAVA_HOME
}

# Kafka's jars, in the version that the pom names. They are downloaded into a temporary
# folder first, so that an incomplete set is never used.
need_kafka() {
  local pom="$TOP/tests/support/kafka/pom.xml" version
  need_java || return 1
  version=$(sha256sum "$pom" | cut -c 1-16)
  [[ $(cat "$STATE/kafka/lib/.complete" 2>/dev/null) == "$version" ]] && return 0
  command -v mvn >/dev/null || install_packages maven || return 1
  step "fetching Apache Kafka from Maven Central"
  rm -rf "$STATE/kafka/lib.new"
  mkdir -p "$STATE/kafka"
  watched "mvn" "$STATE/log/maven.log" timeout 900 mvn -B -f "$pom" dependency:copy-dependencies \
    "-DoutputDirectory=$STATE/kafka/lib.new" || return 1
  compgen -G "$STATE/kafka/lib.new/kafka_2.13-*.jar" >/dev/null || return 1
  printf '%s\n' "$version" >"$STATE/kafka/lib.new/.complete"
  rm -rf "$STATE/kafka/lib"
  mv "$STATE/kafka/lib.new" "$STATE/kafka/lib"
}

# choose_broker WANTED: sets BROKER. Falls back to the embedded broker, with a warning,
# if Kafka cannot be installed.
choose_broker() {
  BROKER=${1:-kafka}
  [[ $BROKER == kafka ]] || return 0
  if ! need_kafka; then
    BROKER=embedded
    warn "Apache Kafka cannot be installed here (see above). Using the EMBEDDED broker:"
    warn "it speaks Kafka's protocol but stores nothing; events in flight when it stops are sent again from the outbox or are lost."
  fi
}
