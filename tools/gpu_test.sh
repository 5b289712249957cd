#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Everything that needs an NVIDIA device, on programs that are built already.
# usage: tools/gpu_test.sh [BUILD] [--sanitize]     (BUILD: build/test)
# Last line: 'N passed, N failed'; exit 1 when anything failed or there is no device.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build/test sanitize=
for word in "$@"; do
    case $word in
    --sanitize) sanitize=1 ;;
    *) build=$(cd "$word" && pwd) || exit 2 ;;
    esac
done
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

date -u '+%Y-%m-%d'
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
"$build/fastvmt" devices | tee devices
grep -q '^cuda: driver' devices || { echo "gpu_test: no device" >&2; exit 1; }

# run LABEL COMMAND…: its lines about cuda, and whether it passed
run() {
    local label=$1 status=0
    shift
    "$@" >log 2>&1 || status=$?
    if [ $status = 0 ]; then
        passed=$((passed + 1))
        echo "passed  $label"
    else
        failed=$((failed + 1))
        echo "FAILED  $label (exit code $status)"
        grep -aE 'ERROR|FAILED|wanted|=========' log | head -n 12
    fi
    grep -aE '(largest error|largest difference|cosine|PSNR).*|^(dit|vae|umt5|guided|pipeline|samplers|amf|shift|adamw).* on cuda' log |
        grep -aE 'cuda|tolerance' | grep -avE 'backend (ref|cpu)' | sed 's/^/        /'
}

for name in cases_dense cases_rows cases_motion quant; do
    run "ops.$name" env VMT_BACKEND=cuda "$build/tests/test_$name"
done
for name in golden_ops golden_block golden_flow golden_motion golden_sampler dit dit_recompute dit_stream dit_lora \
    umt5 vae vae_layers vae_tiny run; do
    run "golden.$name" "$build/tests/test_$name"
done
for name in cuda transfer; do
    run "e2e.$name" "$build/tests/test_$name"
done
if [ -n "$sanitize" ]; then
    for tool in memcheck racecheck initcheck; do
        for name in cases_dense cases_rows cases_motion; do
            run "$tool of ops.$name" env VMT_BACKEND=cuda compute-sanitizer --tool $tool --error-exitcode 9 \
                "$build/tests/test_$name"
        done
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
