#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Whole runs on the tiny model at the smallest size, each under the tool that is named.
# usage: tools/tiny_runs.sh PROGRAM THREADS "BACKEND …" TOOL [ARGUMENT …]    ("env" runs them bare)
# One line each; exit 1 when one ended with another code than it should.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$PWD/$1 threads=$2 backends=$3
shift 3
model=$PWD/models/tiny root=$PWD failed=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export OMP_WAIT_POLICY=passive

printf 'YUV4MPEG2 W32 H32 F16:1 Ip A1:1 C444\n' >clip.y4m
for frame in 0 1 2 3 4; do
    printf 'FRAME\n' >>clip.y4m
    head -c 3072 </dev/zero | tr '\0' "\\$((101 + 11 * frame))" >>clip.y4m
done

check() { # EXPECTED CODE, NAME, WORD…
    local expected=$1 name=$2 code=0
    shift 2
    "${tool[@]}" "$program" "$@" >out.txt 2>err.txt || code=$?
    if [ "$code" = "$expected" ]; then
        echo "$name: clean"
    else
        failed=1
        echo "$name: exit code $code, expected $expected"
        head -n 60 err.txt
    fi
}
tool=("$@")
short=(-q --threads "$threads" --size 32x32 --frames 5 --steps 2 --guided-steps 1 --inner-steps 2)
prompt=(-p "a red car on snow")

for backend in $backends; do
    on=("${short[@]}" --backend "$backend")
    check 0 "$backend: extract" extract -m "$model" -r clip.y4m -o "$backend.fvm" "${on[@]}"
    check 0 "$backend: transfer" transfer -m "$model" -r clip.y4m "${prompt[@]}" -o "$backend.y4m" --compare "$backend.c.y4m" "${on[@]}"
    check 0 "$backend: transfer, stored" transfer -m "$model" --motion "$backend.fvm" "${prompt[@]}" -o "$backend.2.y4m" \
        --checkpoint 1 --checkpoint-file "$backend.state" "${on[@]}"
    check 0 "$backend: transfer, resumed" transfer -m "$model" -r clip.y4m "${prompt[@]}" -o "$backend.3.y4m" --resume "$backend.state" "${on[@]}"
    check 0 "$backend: generate" generate -m "$model" "${prompt[@]}" -o "$backend.4.y4m" "${on[@]}"
    check 0 "$backend: encode" encode -m "$model" -r clip.y4m -o "$backend.latent" "${on[@]}"
    check 0 "$backend: decode to pictures" decode -m "$model" "$backend.latent" -o "$backend%05d.ppm" "${on[@]}"
done
check 0 "embed" embed -m "$model" "${prompt[@]}" -o prompt.emb -q --threads "$threads"
check 0 "info of the model" info "$model"
check 0 "probe" probe "$root/tests/data/golden/adamw_a.safetensors" -o out
echo '{}' >text.json
check 5 "a file that is nothing of ours" info text.json
exit "$failed"
