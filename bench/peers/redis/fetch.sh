#!/usr/bin/env bash
# Puts a redis-server below build/peers/redis: the one in PATH, or else Debian's, unpacked without
# installing it. Does nothing if it is there.
set -euo pipefail
cd "$(dirname "$0")/../../.."
target=build/peers/redis

if ! [ -x $target/redis-server ]; then
  mkdir -p $target/unpacked
  if found=$(command -v redis-server); then
    libraries=""
  else
    (cd $target && apt-get download -qq redis-server redis-tools liblzf1 libjemalloc2)
    for package in $target/*.deb; do dpkg-deb -x "$package" $target/unpacked; done
    found=$PWD/$target/unpacked/usr/bin/redis-server
    libraries=$(find "$PWD/$target/unpacked" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
  fi
  # exec, so that the process that is measured is the server.
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$found" > $target/starting
  chmod +x $target/starting
  $target/starting --version > /dev/null
  mv $target/starting $target/redis-server
fi
