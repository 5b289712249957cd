#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds each preset and runs its tests.  usage: tools/run_tests.sh PRESET…
# Last line: 'N passed, N failed, N skipped', summed over the presets; exit 1 when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0 cut=0

for preset in "$@"; do
    echo "== $preset: build"
    tools/build.sh "$preset"
    echo "== $preset: test"
    results=build/$preset/results.xml
    rm -f "$results"
    status=0
    ctest --test-dir "build/$preset" --parallel "$(nproc 2>/dev/null || echo 2)" --output-on-failure \
        --no-tests=error --output-junit results.xml || status=$?
    [ -s "$results" ] || { echo "run_tests: ctest wrote no $results" >&2; exit 1; }

    count() { sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p;/<testcase/q" "$results" | head -n 1; }
    tests=$(count tests) bad=$(count failures) out=$(count skipped) off=$(count disabled)
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || { echo "run_tests: ctest ended with $status" >&2; bad=1 tests=$((tests + 1)); }
    passed=$((passed + tests - bad - out - off)) failed=$((failed + bad)) skipped=$((skipped + out + off))
    sed -n 's/.*<testcase name="\([^"]*\)".*status="notrun".*/SKIPPED ('"$preset"'): \1/p' "$results"
    # Single cases that a program left out while the others ran.
    partly=$(sed -n 's/^\[  SKIPPED \] \([A-Za-z_][A-Za-z0-9_]*\)$/SKIPPED ('"$preset"', one case): \1/p' \
        "build/$preset/Testing/Temporary/LastTest.log" | sort -u)
    if [ -n "$partly" ]; then
        echo "$partly"
        cut=$((cut + $(echo "$partly" | wc -l)))
    fi
done

[ "$cut" = 0 ] || echo "$cut cases inside passing programs were skipped"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
