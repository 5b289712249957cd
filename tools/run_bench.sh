#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The bench of docs/performance.md: the parts of a run at the 1.3B shape, then one transfer with the bundled model in
# both dtypes.  usage: tools/run_bench.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1

lscpu | grep -E "Model name|^CPU\(s\)|L2|L3" || true
"$program" bench
for dtype in f32 bf16; do
    "$program" bench transfer -m models/tiny --dtype "$dtype" --runs 5
done
