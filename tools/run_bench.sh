#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Time of each op and of one whole transfer, in both dtypes.  usage: tools/run_bench.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-2000} # do not burn the core another program needs

lscpu | grep -E "Model name|^CPU\(s\)|L2|L3" || true
for dtype in f32 bf16; do
    "$build/bench/bench_ops" auto "$dtype"
    "$build/bench/bench_transfer" models/tiny auto "$dtype"
done
