#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every arm x clip x seed of docs/quality.md.
# usage: tools/quality/run.sh PROGRAM OUT [SEEDS] [JOBS] [ARMS]
#   tools/quality/run.sh build/release/fastvmt build/quality "1 2 3 4 5 6 7 8" 16
# REFS=DIR takes DIR/NAME (a folder of PPM pictures) in place of demo/refs/NAME.mkv; MORE="..." adds options.
# A run whose result exists is not repeated.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$1 out=$2 seeds=${3:-1 2 3 4 5 6 7 8} jobs=${4:-$(nproc)} arms=${5:-noise start guided}
mkdir -p "$out"
export program out REFS=${REFS:-} MORE=${MORE:-} OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1

run_one() {
    local arm=$1 seed=$2 file=$3 prompt=$4 name=${3%.mkv} opts=() reference
    case $arm in
        noise) opts=(--init noise --strength 1 --guided-steps 0) ;;
        start) opts=(--guided-steps 0) ;;
        guided) ;;
        released) opts=(--variant released) ;;
        *) echo "unknown arm $arm" >&2; return 255 ;;
    esac
    local result=$out/$arm-$name-$seed.y4m
    [ ! -e "$result" ] || return 0
    reference=${REFS:+$REFS/$name}
    # shellcheck disable=SC2086
    "$program" transfer -m models/tiny -r "${reference:-demo/refs/$file}" -p "$prompt" --seed "$seed" --threads 1 \
        --quiet --progress none $MORE "${opts[@]}" -o "$result" || echo "failed: $arm $name seed $seed" >&2
}
export -f run_one

for seed in $seeds; do
    for arm in $arms; do
        sed -nE 's/.*"file": "([^"]*)".*"prompt": "([^"]*)".*/\1\n\2/p' demo/refs/refs.json |
            while read -r file && read -r prompt; do printf '%s\0%s\0%s\0%s\0' "$arm" "$seed" "$file" "$prompt"; done
    done
done | xargs -0 -n 4 -P "$jobs" bash -c 'run_one "$@"' run_one
