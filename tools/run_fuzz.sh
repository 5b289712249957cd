#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every fuzz target.  usage: tools/run_fuzz.sh BUILD_DIR SECONDS
# New inputs go to BUILD_DIR/corpus/NAME, a crashing one to BUILD_DIR/found/.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=$2 failed=0 targets=0
# A request for more than a gigabyte fails as on a machine without it.
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=1024
mkdir -p "$build/found"

for target in "$build"/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target")
    name=${name#fuzz_}
    targets=$((targets + 1))
    mkdir -p "$build/corpus/$name"
    echo "== $name: $seconds s"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3072 -malloc_limit_mb=100000 -print_final_stats=1 \
        -artifact_prefix="$build/found/$name-" "$build/corpus/$name" "tests/fuzz/corpus/$name" \
        >"$build/found/$name.log" 2>&1 || {
        failed=$((failed + 1))
        grep -E 'ERROR|SUMMARY|Test unit written' "$build/found/$name.log" || tail -n 5 "$build/found/$name.log"
    }
    grep -E 'number_of_executed_units|peak_rss_mb' "$build/found/$name.log" || true
done
echo "$targets targets, $failed with findings"
[ "$targets" -gt 0 ] && [ "$failed" = 0 ]
