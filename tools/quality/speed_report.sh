#!/usr/bin/env bash
# The speed report of docs/performance.md: every method's parts and whole schedule at the 1.3B shape with random
# weights, the 50-step runs of fastvmt and ditflow-10 whole, and the released PyTorch code beside them.
#
# usage: tools/quality/speed_report.sh FASTVMT [CHECKOUT]      FASTVMT: the program
#   CHECKOUT  of mayuelala/FastVMT, changed as tools/quality/bench_released.py says; needs torch with CUDA, einops
#   BACKEND=cuda  DTYPE=bf16  SIZE=832x480  FRAMES="81 32"  SHAPE=1.3b  MODEL=folder (made if absent)  WHOLE=1
#   PARTS="methods whole released"   OPTIONS=further options   EMBEDDINGS=prompts (fastvmt embed), for a build without sentencepiece
# On a CPU: BACKEND=cpu SIZE=128x80 FRAMES=9 WHOLE=0 tools/quality/speed_report.sh FASTVMT
set -euo pipefail

fastvmt=$(realpath "$1")
checkout=${2:-}
root=$(cd "$(dirname "$0")/../.." && pwd)
model=${MODEL:-$(mktemp -d)/model}
parts=${PARTS:-methods whole released}
run=(-m "$model" --backend "${BACKEND:-cuda}" --dtype "${DTYPE:-bf16}" --size "${SIZE:-832x480}" --preset paper --steps 50 -q
     ${OPTIONS:-})
[ -z "${EMBEDDINGS:-}" ] || run+=(--embeddings "$EMBEDDINGS")

if [ ! -d "$model" ]; then
    "$fastvmt" make-model "$model" --shape "${SHAPE:-1.3b}" --text-shape small --vae-shape wan --tokenizer "$root/models/tiny/spiece.model"
fi
if [[ $parts == *methods* ]]; then
    for frames in ${FRAMES:-81 32}; do
        "$fastvmt" bench methods "${run[@]}" --frames "$frames"
    done
fi
if [[ $parts == *whole* ]]; then
    frames=${FRAMES:-81 32}
    for method in fastvmt ditflow-10; do
        "$fastvmt" bench methods "${run[@]}" --frames "${frames%% *}" --method "$method" --full
    done
fi
if [[ $parts == *released* && -n $checkout ]]; then
    python3 "$root/tools/quality/bench_released.py" "$checkout" --sections 1,2,5 --guid-runs 3
fi
