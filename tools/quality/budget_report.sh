#!/usr/bin/env bash
# What a limit of device memory costs: whole transfers and short ones of random weights, each shape without a limit and under
# several.  One line per case: memory planned and taken, seconds of a guided and of a plain step, both over those of the first
# case of its shape.
#
# usage: tools/quality/budget_report.sh BUILD [FOLDER]
#   BUILD     with fastvmt and tests/
#   FOLDER    for models and results, made if absent, kept; 17 GB for 1.3b with UMT5-xxl, 45 for 14b with 14b.fp8.
#             Without: in /dev/shm when that is large enough, else in $TMPDIR or /tmp
#   CASES="1.3b:0 1.3b:8G"    shape[.type]:limit, 0: none; type: bf16 (default), fp8, q4_k
#   TEXT=xxl|small  SIZE=832x480  FRAMES=81  OPTIONS=further options
#   STEPS="--steps 3 --guided-steps 2 --inner-steps 2 --grad-reuse-interval 1"    the last guided and the last step are timed
#   CHECKS=1      first what must hold for any figure to mean something: test_dit_stream, test_quant
#   VAE=1         encode and decode of the reference by themselves
#   SECONDS_MOST=560          no case is begun behind it
#   BACKEND=cuda  with cpu, limits are of memory of the host (to try the script)
set -euo pipefail

build=$(realpath "$1")
fastvmt=$build/fastvmt
root=$(cd "$(dirname "$0")/../.." && pwd)
backend=${BACKEND:-cuda} size=${SIZE:-832x480} frames=${FRAMES:-81}
steps=${STEPS:---steps 3 --guided-steps 2 --inner-steps 2 --grad-reuse-interval 1}
limit_option=--max-vram
[ "$backend" = cuda ] || limit_option=--max-ram

choose_folder() {
    local free
    free=$(df -B1G --output=avail /dev/shm 2>/dev/null | tail -1 || echo 0)
    if [ "$free" -ge 48 ]; then echo /dev/shm/fastvmt-budget; else echo "${TMPDIR:-/tmp}/fastvmt-budget"; fi
}

say() {
    echo "[$SECONDS s] $*"
}

make_model() { # shape
    [ -d "$1" ] && return
    "$fastvmt" make-model "$1.part" --shape "$1" --type bf16 --text-shape "${TEXT:-small}" --vae-shape wan \
        --tokenizer "$root/models/tiny/spiece.model" -q
    mv "$1.part" "$1"
    say "made $1, $(du -sm "$1" | cut -f1) MiB"
}

dit_of() { # shape type: the file of the transformer in a type
    case $2 in
    bf16) return ;;
    fp8) echo "$1-$2.safetensors" ;;
    *) echo "$1-$2.gguf" ;;
    esac
}

make_dit() { # shape type file
    local from=$1/diffusion_pytorch_model.safetensors
    if [ -z "$3" ] || [ -f "$3" ]; then return; fi
    [ -f "$from" ] || from+=.index.json
    "$fastvmt" convert "$from" -o "$3" --type "$2" -q
    say "made $3, $(du -sm "$3" | cut -f1) MiB"
}

make_reference() {
    [ -f ref.y4m ] || python3 - "$size" "$frames" <<'PY'
import os, sys
w, h = map(int, sys.argv[1].split("x"))
row = bytes(16 + i % 200 for i in range(2 * w + h + 200))
with open("ref.part", "wb") as f:
    f.write(b"YUV4MPEG2 W%d H%d F16:1 Ip A1:1 C444\n" % (w, h))
    for t in range(int(sys.argv[2])):
        f.write(b"FRAME\n" + b"".join(row[(3 * t + y) % 200:][:w] for y in range(h)) + b"\x80" * (2 * w * h))
os.rename("ref.part", "ref.y4m")
PY
}

# MiB of the device before and at most, seen by another program.
watch_device() {
    [ "$backend" = cuda ] && command -v nvidia-smi >/dev/null || return 0
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 40 >smi 2>/dev/null &
    watcher=$!
    sleep 0.3
}

end_watch() {
    [ -z "${watcher:-}" ] || kill "$watcher" 2>/dev/null || true
    [ -z "${watcher:-}" ] || wait "$watcher" 2>/dev/null || true
    watcher=
}

run_case() { # name log command…: its line
    local name=$1 log=$2 code=0
    shift 2
    : >smi
    watch_device
    "$@" 2>"$log" || code=$?
    end_watch
    [ $code = 0 ] || say "$name FAILED, exit code $code: $(tail -1 "$log")"
    grep -v '^{' "$log" || true
    [ $code != 0 ] || python3 - "$name" "$log" <<'PY'
import json, os, re, sys
name, log = sys.argv[1:]
lines = open(log).read().split("\n")
told = [json.loads(line) for line in lines if line.startswith("{")]
plain = [line for line in lines if not line.startswith("{")]
plan = {m[1]: float(m[2]) for m in (re.match(r"  (\w+(?: max)?) +([\d.]+) MiB$", line) for line in plain) if m}
guided = max([0] + [int(m[1]) for m in (re.search(r", (\d+) guided: ", line) for line in plain) if m])
at, loads = {}, {}
for p in told:
    if p["phase"] == "sample":
        at.setdefault(p["step"], p["seconds"])
step = {k: at[k] - at[k - 1] for k in at if k - 1 in at}
smi = [int(line) for line in open("smi").read().split() if line.isdigit()]
row = {"case": name, "planned": plan.get("total", 0), "context": plan.get("context", 0),
       "taken": max([p["memory_taken"] for p in told] + [0]) / 2**20, "smi": max(smi) - smi[0] if smi else 0,
       "guided": step.get(guided, 0), "plain": step.get(max(step), 0) if step and max(step) > guided else 0}
rows = [json.loads(line) for line in open("rows")] if os.path.exists("rows") else []
shape = name.split(":")[0].split(".fp8")[0].split(".q4")[0]
first = next((r for r in rows if r["shape"] == shape), None)
row["shape"] = shape
over = [row[k] / first[k] if first and first[k] else 1 for k in ("guided", "plain")]
if not row["planned"]:
    print("SUMMARY %-12s taken %8.0f MiB (context included), by nvidia-smi %6d" % (name, row["taken"], row["smi"]))
    sys.exit()
row["line"] = ("SUMMARY %-12s planned %8.0f MiB (context %5.0f), taken %8.0f = %.3f x, by nvidia-smi %6d; "
               "guided step %8.3f s, %.3f x; plain step %8.3f s, %.3f x" %
               (name, row["planned"], row["context"], row["taken"], row["taken"] / max(row["planned"], 1), row["smi"],
                row["guided"], over[0], row["plain"], over[1]))
open("rows", "a").write(json.dumps(row) + "\n")
print(row["line"])
PY
}

check() { # test: the lines that tell
    local code=0
    [ -x "$build/tests/$1" ] || { say "CHECK $1: not built"; return; }
    (cd "$build/tests" && timeout 60 "./$1") >"$1.log" 2>&1 || code=$?
    say "CHECK $1: exit code $code, $(grep -c '  OK ' "$1.log") passed"
    grep -iE 'skipped|^cuda' "$1.log" || true
    [ $code = 0 ] || tail -25 "$1.log"
}

# Whether an allocation takes whole pages of 2 MiB, as the plan counts it.
check_pages() {
    [ "$backend" = cuda ] || return 0
    python3 - <<'PY' || true
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
size, p = ctypes.c_size_t, ctypes.c_void_p()
context, free, total = ctypes.c_void_p(), size(), size()
cuda.cuInit(0)
cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
cuda.cuCtxSetCurrent(context)
for kib in (600, 1536, 2560, 4608, 26 * 1024 + 64):
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    before, held = free.value, []
    for _ in range(64):
        cuda.cuMemAlloc_v2(ctypes.byref(p), size(kib << 10))
        held.append(p.value)
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    print("PAGES 64 x %d KiB take %.1f KiB each" % (kib, (before - free.value) / 1024 / 64))
    for h in held:
        cuda.cuMemFree_v2(ctypes.c_void_p(h))
PY
}

folder=${2:-$(choose_folder)}
mkdir -p "$folder" && cd "$folder"
say "in $folder, $(df -h --output=avail . | tail -1) free"
if [ "${CHECKS:-0}" = 1 ]; then
    check_pages
    check test_dit_stream
    check test_quant
fi
make_reference
for c in ${CASES:-1.3b:0 1.3b:8G}; do
    model=${c%%:*} limit=${c##*:} shape=${c%%:*} type=bf16
    case $model in *.fp8 | *.q4_k) shape=${model%.*} type=${model##*.} ;; esac
    if [ "$SECONDS" -gt "${SECONDS_MOST:-560}" ]; then say "$c: no time left"; continue; fi
    make_model "$shape"
    dit=$(dit_of "$shape" "$type")
    make_dit "$shape" "$type" "$dit"
    if [ "${VAE:-0}" = 1 ]; then
        VAE=0
        say "== encode and decode"
        run_case vae.encode log "$fastvmt" encode -m "$shape" -r ref.y4m --size "$size" --frames "$frames" --backend "$backend" \
            --dtype bf16 --progress json -o ref.latent -y
        run_case vae.decode log "$fastvmt" decode -m "$shape" ref.latent --backend "$backend" --dtype bf16 --progress json -o ref.out.y4m -y
    fi
    say "== $c"
    # shellcheck disable=SC2206
    args=(transfer -m "$shape" -r ref.y4m -p "a lion runs through snow" -o out.y4m -y --backend "$backend" --preset paper
          --size "$size" --frames "$frames" --progress json --cache-dir none $steps ${OPTIONS:-})
    [ -z "$dit" ] || args+=(--dit "$dit")
    [ "$limit" = 0 ] || args+=("$limit_option" "$limit")
    rm -f out.y4m
    run_case "$c" log "$fastvmt" "${args[@]}"
    [ ! -f out.y4m ] || say "hash $(sha256sum out.y4m | cut -c1-16)"
done
say "all cases so far:"
[ ! -f rows ] || python3 -c 'import json; [print(json.loads(line)["line"]) for line in open("rows")]'
