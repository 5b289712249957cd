#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every benchmark one after another.  usage: tools/run_bench.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1
for bench in "$1"/bench/bench_*; do
    [ -x "$bench" ] && [ -f "$bench" ] || continue
    echo "== $(basename "$bench")"
    "$bench"
done
