#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the switches of --mode fast cost in scores, with the tiny model: first each by itself, on clips made for choosing; then `fast`
# beside `exact`, on the clips of demo/table, which nothing was chosen on.
# usage: tools/quality/fast_table.sh choose|claim PROGRAM OUT [JOBS] [OPTIONS of bench table]
#   tools/quality/table_clips.py --choose build/choose
#   CLIPS=build/choose tools/quality/fast_table.sh choose build/release/fastvmt build/switches 16 --videos none
#   tools/quality/fast_table.sh claim build/release/fastvmt build/fast 16 --videos none
# SEEDS: of each arm and clip (choose 4, claim 17).  Another model, e.g. real weights: MODEL=DIR.  LIST_ONLY=1 stops after the manifest.
# Y4M=1: clips and embeddings are turned into what a machine without libav and sentencepiece reads (needs ffmpeg here).
set -euo pipefail
what=$1 program=$(realpath "$2") jobs=${4:-$(nproc)}
mkdir -p "$3"
out=$(realpath "$3")
root=$(cd "$(dirname "$0")/../.." && pwd)
clips=$(realpath "${CLIPS:-$root/demo/table}")
shift $(($# < 4 ? $# : 4))
[ -z "${Y4M:-}" ] || "$root/tools/quality/portable_clips.sh" "$program" "${MODEL:-$root/models/tiny}" "$clips/clips.json" "$out"
python3 - "$what" "$clips" "${Y4M:-}" "${SEEDS:-}" >"$out/manifest.jsonl" <<'PYTHON'
import json, pathlib, sys

what, folder, y4m, seeds = sys.argv[1:5]


def moved(name, first, last=None):
    """GUIDEDxG: each of the G gradients of a guided step moves the latent once; the rate falls from `first` towards `last`."""
    guided, count = map(int, name.split("x"))
    return {"guided-steps": guided, "inner-steps": count, "grad-reuse-interval": 1, "lr-first": first, "lr-last": first if last is None else last}


arms = {"exact": {}, "none": {}}
if what == "choose":
    arms |= {f"interval {n}": {"grad-reuse-interval": n} for n in (1, 2, 4, 5, 10)}
    arms |= {"block 4": {"block": 4}, "block 4, interval 2": {"block": 4, "grad-reuse-interval": 2}}
    for window in ("100%,67%,50%", "67%,67%,75%", "67%,67%,50%", "33%,67%,50%"):
        arms[f"local {window}"] = {"attention": "local", "attention-window": window}
    for phases in ("reference,guidance", "sampling"):
        arms[f"local 67%,67%,50%, {phases}"] = {"attention": "local", "attention-window": "67%,67%,50%", "local-phases": phases}
    arms |= {f"cache {x}": {"cache": x} for x in (0.08, 0.12, 0.16, 0.2)}
    arms |= {f"residual {x}": {"cache": x, "cache-from": "residual"} for x in (0.08, 0.16)}
    arms |= {f"cfg-until {x}": {"cfg-until": x} for x in (0.8, 0.6, 0.4)}
    arms |= {"cache 0.2, cfg-until 0.4": {"cache": 0.2, "cfg-until": 0.4}, "steps 19": {"steps": 19, "guided-steps": 9}, "fp8": {"fp8": "on"}}
    arms |= {f"reuse steps {n}": {"reuse": "steps", "reuse-steps": n} for n in (2, 3, 4)}
    arms |= {f"reuse adaptive {c}": {"reuse": "adaptive", "reuse-steps": 4, "reuse-cosine": c} for c in (0.5, 0.7, 0.9)}
    moves = {"12x1": [(.05,), (.085,), (.13,), (.18,)], "15x1": [(.085,), (.12,)], "18x1": [(.06,), (.085,), (.11,)], "22x1": [(.07,)],
             "9x1": [(.13,)], "12x2": [(.03,), (.045, .035), (.05,), (.06, 0)], "9x2": [(.06,)], "10x2": [(.06, .04)],
             "6x2": [(.1, .04)], "12x3": [(.035, .02)]}
    arms |= {f"{n} {' '.join(map(str, m))}": moved(n, *m) for n, all_moves in moves.items() for m in all_moves}
    arms |= {f"{n} b {b} {x} {y}": moved(n, x, y) | {"beta1": b}
             for n, b, x, y in (("12x2", 0, .045, .035), ("12x2", 0, .06, 0), ("12x2", .5, .045, .035), ("12x2", .5, .06, 0), ("12x3", .5, .045, .01))}
    arms |= {f"{n} carried b {b1} {b2} {x}": moved(n, x) | {"adamw-state": "carry", "beta1": b1, "beta2": b2}
             for n, x, b1, b2 in (("12x1", .085, .9, .999), ("12x1", .085, 0, .9), ("12x1", .085, .5, .7), ("12x1", .085, .5, .9),
                                  ("12x1", .13, .5, .9), ("15x1", .085, .5, .7), ("18x1", .085, .5, .7))}
    arms |= {f"{n}, steps 2 {x}": moved(n, x) | {"reuse": "steps", "reuse-steps": 2} for n, x in (("18x1", .05), ("18x1", .085), ("22x1", .04))}
    arms |= {"18x1, ref 2 0.085": moved("18x1", .085) | {"ref-interval": 2}}
    arms |= {"reuse steps 2, carried": {"reuse": "steps", "reuse-steps": 2, "adamw-state": "carry"}, "reference every 2": {"ref-interval": 2}}
else:
    arms |= {"fast": {"mode": "fast"}, "velocity 0.2": {"cache": 0.2, "cache-scale": "measured"}}
    arms |= {"residual 0.16": {"cache": 0.16, "cache-from": "residual", "cache-scale": "measured"}}
    arms |= {"local 78%,100%,100%": {"attention": "local", "attention-window": "78%,100%,100%"}}
    cache = {"cache": 0.2, "cache-scale": "measured"}
    arms |= {"12x2, cache": moved("12x2", .045, .035) | {"beta1": .5} | cache, "18x1, cache": moved("18x1", .06) | cache}
clips = json.loads((pathlib.Path(folder) / "clips.json").read_text())
for seed in range(1, int(seeds or (4 if what == "choose" else 17)) + 1):
    for clip in clips:
        for arm, settings in arms.items():
            case = {"arm": arm, "method": "none" if arm == "none" else "fastvmt", "clip": f"{folder}/{clip['file']}",
                    "prompt": clip["prompt"], "seed": seed, "settings": settings, "subject": clip["subject"], "path": clip["path"]}
            if y4m:
                case["clip"] = f"{pathlib.Path(clip['file']).stem}.y4m"
                case["embeddings"] = f"{clip['prompt'].replace(' ', '_')}.safetensors"
            print(json.dumps(case))
scores = ["path_correlation", "fidelity", "subject_likeness", "subject_found", "smoothness", "flicker"]
for arm in arms:
    if arm not in ("exact", "none"):
        print(json.dumps({"claim": {"a": arm, "b": "exact", "baseline": "none", "margin": 0.05, "scores": scores}}))
PYTHON
[ -z "${LIST_ONLY:-}" ] || exit 0
cd "$out" # clips made by Y4M=1 lie beside the manifest
exec "$program" bench table manifest.jsonl -m "${MODEL:-$root/models/tiny}" -o . --jobs "$jobs" "$@"
