#!/usr/bin/env bash
# What a limit of device memory costs: whole transfers and short ones of random weights under several limits; for each the
# plan, the most the device took (nvidia-smi, every 50 ms) and the seconds of each phase.
#
# usage: tools/quality/budget_report.sh FASTVMT FOLDER
#   FOLDER    for models and results, made if absent; some 60 GB for 14b
#   CASES="1.3b:32G 1.3b:8G 14b:0 14b:24G"   shape[.type]:limit, 0: none; type: bf16 (default), fp8, q4_k
#   SIZE=832x480  FRAMES=81  STEPS="--steps 4 --guided-steps 2 --inner-steps 4 --grad-reuse-interval 2"
#   TEXT=xxl|small   OPTIONS=further options
set -euo pipefail

fastvmt=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$2" && cd "$2"
steps=${STEPS:---steps 4 --guided-steps 2 --inner-steps 4 --grad-reuse-interval 2}

make_model() { # shape
    [ -d "$1" ] || "$fastvmt" make-model "$1" --shape "$1" --type bf16 --text-shape "${TEXT:-xxl}" --vae-shape wan \
        --tokenizer "$root/models/tiny/spiece.model" -q
}

dit_of() { # shape type: the file of the transformer in a type
    case $2 in
    bf16) return ;;
    fp8) echo "$1-$2.safetensors" ;;
    *) echo "$1-$2.gguf" ;;
    esac
}

peak_while() { # file command…: MiB of the device, most seen beyond what is there before
    local out=$1 before most=0 now pid
    shift
    before=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
    "$@" 2>"$out" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        now=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
        if [ "$now" -gt "$most" ]; then most=$now; fi
        sleep 0.05
    done
    wait $pid || echo "FAILED $?: $(tail -1 "$out")"
    echo "took $((most - before)) MiB of the device"
}

if [ ! -f ref.y4m ]; then
    python3 - "${SIZE:-832x480}" "${FRAMES:-81}" <<'PY'
import sys
w, h = map(int, sys.argv[1].split("x"))
with open("ref.y4m", "wb") as f:
    f.write(b"YUV4MPEG2 W%d H%d F16:1 Ip A1:1 C444\n" % (w, h))
    for t in range(int(sys.argv[2])):
        rows = [bytes((16 + (x + 3 * t + y) % 200) for x in range(w)) for y in range(h)]
        f.write(b"FRAME\n" + b"".join(rows) + b"\x80" * (2 * w * h))
PY
fi
for c in ${CASES:-1.3b:32G 1.3b:12G 1.3b:8G 14b:0 14b:24G 14b.fp8:16G 14b.q4_k:16G}; do
    model=${c%%:*} limit=${c##*:}
    shape=${model%.*} type=bf16
    case $model in *.fp8 | *.q4_k) type=${model##*.} ;; *) shape=$model ;; esac
    make_model "$shape"
    dit=$(dit_of "$shape" "$type")
    if [ -n "$dit" ] && [ ! -f "$dit" ]; then
        "$fastvmt" convert "$shape/diffusion_pytorch_model.safetensors.index.json" -o "$dit" --type "$type" -q ||
            "$fastvmt" convert "$shape/diffusion_pytorch_model.safetensors" -o "$dit" --type "$type" -q
    fi
    args=(transfer -m "$shape" -r ref.y4m -p "a lion runs through snow" -o out.y4m -y --backend cuda --preset paper --size "${SIZE:-832x480}"
          --frames "${FRAMES:-81}" --progress none)
    # shellcheck disable=SC2206
    args+=($steps ${OPTIONS:-})
    [ -z "$dit" ] || args+=(--dit "$dit")
    [ "$limit" = 0 ] || args+=(--max-vram "$limit")
    echo "== $c"
    peak_while log "$fastvmt" "${args[@]}"
    cat log
    sha256sum out.y4m | cut -c1-16
done
