#!/usr/bin/env bash
# Copies the jars of one Apache Kafka broker to .state/kafka/libs, once. Where Java or Maven is missing it says
# so and leaves the folder absent, which is how `make test-kafka` knows that it has nothing to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

LIBS=.state/kafka/libs
wanted=$(cksum <deploy/kafka/pom.xml)

skip() {
    rm -rf "$LIBS"
    printf 'test-kafka skipped: %s\n0 passed, 0 failed, 1 skipped\n' "$1"
    exit 0
}

java -version >/dev/null 2>&1 || skip "no Java on this machine (17 or newer is needed to run Apache Kafka)"
if [[ -f $LIBS/.pom && $(cat "$LIBS/.pom") == "$wanted" ]]; then
    exit 0
fi
mvn --version >/dev/null 2>&1 || skip "no Maven on this machine (it fetches the jars of deploy/kafka/pom.xml)"

echo "test-kafka: fetching Apache Kafka (about 45 MB, once)" >&2
rm -rf "$LIBS" "$LIBS.part"
mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$PWD/$LIBS.part"
mv "$LIBS.part" "$LIBS"
printf '%s\n' "$wanted" >"$LIBS/.pom"
