#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Op tests and a small computation by the program on an emulated older CPU: no illegal instruction, the right level,
# the right results.  usage: emulated.sh CPU LEVEL PROGRAM CASE TEST_DIR  (CPU as qemu-x86_64 names it)
# The emulator's AVX is not exact in all of oneDNN's code (its GELU is wrong there, not on a CPU limited to AVX2), so
# linear layers are not among the ops.
set -euo pipefail
cpu=$1 level=$2 program=$3 case=$4 tests=$5
command -v qemu-x86_64 >/dev/null || { echo "SKIPPED: no qemu-x86_64 (package qemu-user)"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

run() { qemu-x86_64 -cpu "$cpu" "$@" 2>"$out/stderr" || { grep -v TCG "$out/stderr" >&2; return 1; }; }

run "$program" --version
run "$program" probe "$case" -o "$out/result.safetensors" --backend cpu --verbose
grep -q "backend cpu: kernels $level," "$out/stderr" || { echo "not level $level:"; cat "$out/stderr"; exit 1; }
[ -s "$out/result.safetensors" ]
if run "$program" probe "$case" -o "$out/bf16.safetensors" --backend cpu --dtype bf16; then
    echo "bf16 is not refused"
    exit 1
fi
grep -q "no bf16 products on this CPU" "$out/stderr"

export VMT_BACKEND=cpu
run "$tests/test_cases_rows"
VMT_OP=attention run "$tests/test_cases_dense"
VMT_OP=attention_bwd run "$tests/test_cases_dense"
VMT_OP=flow_windowed run "$tests/test_cases_motion"
