#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gradient reuse with the tiny model, measured: which arms are worth testing (choose, on demo/refs), and whether those lose anything (test,
# on the 28 clips of demo/table, which nothing was chosen on).
# usage: tools/quality/reuse_table.sh choose|test PROGRAM OUT [JOBS] [OPTIONS of bench table]
#   tools/quality/reuse_table.sh test build/release/fastvmt build/reuse 16
# SEEDS: seeds a clip (choose 2, test 15).  ARMS: names of arms, separated by commas, in place of the phase's own.  Y4M=1: clips and
# embeddings are turned into what a machine without libav and sentencepiece reads (needs ffmpeg here); LIST_ONLY=1 stops after the manifest.
set -euo pipefail
cd "$(dirname "$0")/../.."
phase=$1 program=$2 out=$3 jobs=${4:-$(nproc)}
shift $(($# < 4 ? $# : 4))
case $phase in
choose) folder=demo/refs list=refs.json ;;
test) folder=demo/table list=clips.json ;;
*) echo "reuse_table.sh: choose or test" >&2 && exit 2 ;;
esac
mkdir -p "$out"
[ -z "${Y4M:-}" ] || tools/quality/portable_clips.sh "$program" models/tiny "$folder/$list" "$out"
python3 - "$phase" "$folder" "$list" "$out" "${Y4M:-}" "${SEEDS:-0}" "${ARMS:-}" >"$out/manifest.jsonl" <<'PYTHON'
import json, os, pathlib, sys

phase, source, file, out, y4m, seeds, chosen = sys.argv[1:]
folder = os.path.relpath(os.path.realpath(source), os.path.realpath(out))  # names begin at the manifest


def steps(interval, n, **more):
    return {"reuse": "steps", "grad-reuse-interval": interval, "reuse-steps": n} | more


def adaptive(cosine, interval=5, n=4, **more):
    return {"reuse": "adaptive", "grad-reuse-interval": interval, "reuse-steps": n, "reuse-cosine": cosine} | more


# gradients of the tiny preset's 12 guided steps with 10 inner steps in brackets
arms = {
    "inner 5": {},  # the default until every third did better [24]
    "all": {"reuse": "none"},  # [120]
    "inner 2": {"grad-reuse-interval": 2},  # [60]
    "inner 4": {"grad-reuse-interval": 4},  # [36]
    "inner 10": {"grad-reuse-interval": 10},  # [12]
    "block 4": {"block": 4},  # [24]
    "block 4, inner 2": {"block": 4, "grad-reuse-interval": 2},  # [60]
    "block 4, inner 4": {"block": 4, "grad-reuse-interval": 4},  # [36]
    "steps 2": steps(5, 2),  # [12]
    "steps 3": steps(5, 3),  # [8]
    "steps 4 of 4": steps(4, 4),  # [9]
    "steps 6 of 3": steps(3, 6),  # [8]
    "steps 2 of 10": steps(10, 2),  # [6]
    "adaptive 0.3": adaptive(0.3),
    "4 by 2": {"inner-steps": 4, "grad-reuse-interval": 2},  # [24]
    "4 by 2, steps 2": steps(2, 2, **{"inner-steps": 4}),  # [12]
    "4 by 2, steps 3": steps(2, 3, **{"inner-steps": 4}),  # [8]
    "4 by 2, adaptive 0.3": adaptive(0.3, interval=2, **{"inner-steps": 4}),
    "4 by 4, steps 2": steps(4, 2, **{"inner-steps": 4}),  # [6]
    "6 by 2, steps 4": steps(2, 4, **{"inner-steps": 6}),  # [9]
    "adaptive 0.2 of 10": adaptive(0.2, interval=10),
    "guide 9, inner 10": {"guided-steps": 9, "grad-reuse-interval": 10},  # [9]
    "guide 4": {"guided-steps": 4},  # [8]
    "9 times 4": {"guided-steps": 9, "inner-steps": 4, "grad-reuse-interval": 4},  # [9]
    "9 times 6": {"guided-steps": 9, "inner-steps": 6, "grad-reuse-interval": 6},  # [9]
    "9 times 4, faster": {"guided-steps": 9, "inner-steps": 4, "grad-reuse-interval": 4, "lr-first": 0.02, "lr-last": 0.014},  # [9]
    "12 times 4": {"inner-steps": 4, "grad-reuse-interval": 4},  # [12]
    "carry": {"adamw-state": "carry"},  # [24]
    "carry, inner 10": {"adamw-state": "carry", "grad-reuse-interval": 10},  # [12]
    "carry, steps 3": steps(5, 3, **{"adamw-state": "carry"}),  # [8]
    "9 times 4, carry": {"guided-steps": 9, "inner-steps": 4, "grad-reuse-interval": 4, "adamw-state": "carry"},  # [9]
    "reference 2": {"ref-interval": 2},  # [24]
    "reference 4": {"ref-interval": 4},  # [24]
    "50 until": {"steps": 50, "guide-until": 0.83},  # [46], guided down to where 12 of 25 steps reach
    "50 counted": {"steps": 50},  # [24]
    "13 until": {"steps": 13, "guide-until": 0.83},  # [12]
    "13 counted": {"steps": 13},  # [24]
    "none": None,  # not guided
}
arms = {name: own if own is None else {"grad-reuse-interval": 5} | own for name, own in arms.items()}
tested = ["inner 5", "inner 2", "inner 4", "block 4", "inner 10", "steps 3", "adaptive 0.3", "9 times 4", "carry", "none"]
names = chosen.split(",") if chosen else list(arms) if phase == "choose" else tested
seeds = int(seeds) or (2 if phase == "choose" else 15)
for seed in range(1, seeds + 1):
    for clip in json.loads((pathlib.Path(source) / file).read_text()):
        for name in names:
            case = {"arm": name, "method": "fastvmt" if arms[name] is not None else "none", "clip": f"{folder}/{clip['file']}",
                    "prompt": clip["prompt"], "seed": seed, "settings": arms[name] or {}, "path": clip.get("path") or clip["path_px"]}
            if "subject" in clip:
                case["subject"] = clip["subject"]
            if y4m:
                case["clip"] = f"{pathlib.Path(clip['file']).stem}.y4m"
                case["embeddings"] = f"{clip['prompt'].replace(' ', '_')}.safetensors"
            print(json.dumps(case))
scores = ["path_correlation", "fidelity", "subject_likeness", "subject_found", "smoothness", "flicker"]
for name in names:
    if name not in ("inner 5", "none"):
        print(json.dumps({"claim": {"a": name, "b": "inner 5", "baseline": "none", "margin": 0.05, "scores": scores}}))
PYTHON
[ -z "${LIST_ONLY:-}" ] || exit 0
exec "$program" bench table "$out/manifest.jsonl" -m models/tiny -o "$out" --jobs "$jobs" "$@"
