#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Configures and builds one preset in build/PRESET.  usage: tools/build.sh PRESET [-DNAME=VALUE …]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift

generator=()
if [ ! -e "build/$preset/CMakeCache.txt" ] && command -v ninja >/dev/null; then
    generator=(-G Ninja)
fi
cmake --preset "$preset" "${generator[@]}" "$@" >"/tmp/fastvmt-configure.$$" 2>&1 || {
    cat "/tmp/fastvmt-configure.$$" >&2
    rm -f "/tmp/fastvmt-configure.$$"
    exit 1
}
grep -E 'Warning|oneDNN:' "/tmp/fastvmt-configure.$$" || true
rm -f "/tmp/fastvmt-configure.$$"
cmake --build "build/$preset" --parallel "$(nproc 2>/dev/null || echo 2)"
