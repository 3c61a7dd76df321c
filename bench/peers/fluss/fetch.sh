#!/usr/bin/env bash
# Fetches Apache Fluss and its clients from Maven and PyPI into build/peers/fluss. Needs a JDK (17 or
# newer) and mvn. Does nothing if they are there.
set -euo pipefail
cd "$(dirname "$0")/../../.."
PYTHON=${PYTHON:-python3}
target=build/peers/fluss

if ! cmp -s bench/peers/fluss/pom.xml $target/lib/pom.xml; then
  rm -rf $target/lib
  mkdir -p $target/lib
  mvn --quiet --batch-mode -f bench/peers/fluss/pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$PWD/$target/lib" -DincludeScope=runtime
  cp bench/peers/fluss/pom.xml $target/lib/pom.xml
fi
if ! cmp -s bench/peers/fluss/Keyed.java $target/classes/Keyed.java; then
  mkdir -p $target/classes
  javac -d $target/classes -cp "$target/lib/*" bench/peers/fluss/Keyed.java
  cp bench/peers/fluss/Keyed.java $target/classes/Keyed.java
fi
if ! [ -f $target/venv/.complete ]; then
  "$PYTHON" -m venv $target/venv
  $target/venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pyfluss==1.0.0
  touch $target/venv/.complete
fi
