#!/usr/bin/env bash
# Fetches Apache Fluss and its Python client from Maven and PyPI into build/peers/fluss. Needs a JDK
# (11 or newer) and mvn. Does nothing if they are there.
set -euo pipefail
cd "$(dirname "$0")/../../.."
PYTHON=${PYTHON:-python3}
target=build/peers/fluss

if ! [ -f $target/lib/.complete ]; then
  mkdir -p $target/lib
  mvn --quiet --batch-mode -f bench/peers/fluss/pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$PWD/$target/lib" -DincludeScope=runtime
  touch $target/lib/.complete
fi
if ! [ -f $target/venv/.complete ]; then
  "$PYTHON" -m venv $target/venv
  $target/venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pyfluss==1.0.0
  touch $target/venv/.complete
fi
