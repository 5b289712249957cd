#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What each switch of --mode fast costs in scores: arms against `exact` on the clips of demo/table, with the tiny model.
# usage: tools/quality/fast_table.sh PROGRAM OUT [JOBS] [OPTIONS of bench table]
#   tools/quality/fast_table.sh build/release/fastvmt build/fast 16 --videos none
# SEEDS (17) of exact, fast and none, 24 clips each; MORE (4) of the single switches.  Another model, e.g. real weights: MODEL=DIR.
# OUT must hold NAME.y4m and PROMPT.safetensors (quality_table.sh makes them with Y4M=1) if Y4M=1.  LIST_ONLY=1 stops after the manifest.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$1 out=$2 jobs=${3:-$(nproc)}
shift $(($# < 3 ? $# : 3))
mkdir -p "$out"
python3 - "$out" "${Y4M:-}" "${SEEDS:-17}" "${MORE:-4}" >"$out/manifest.jsonl" <<'PYTHON'
import json, pathlib, sys

out, y4m, seeds, more = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
arms = {"exact": {}, "fast": {"mode": "fast"}, "none": {}}
arms |= {f"cache {x}": {"cache": x} for x in (0.08, 0.12, 0.16, 0.2, 0.3)}
arms |= {f"residual {x}": {"cache": x, "cache-from": "residual"} for x in (0.12, 0.2)}
arms |= {f"cfg-until {x}": {"cfg-until": x} for x in (0.9, 0.8, 0.6, 0.4)}
arms |= {"cache 0.2, cfg-until 0.4": {"cache": 0.2, "cfg-until": 0.4}, "steps 19": {"steps": 19, "guided-steps": 9}, "fp8": {"fp8": "on"}}
clips = json.loads(pathlib.Path("demo/table/clips.json").read_text())
for seed in range(1, max(seeds, more) + 1):
    for clip in clips:
        for arm, settings in arms.items():
            if seed > (seeds if arm in ("exact", "fast", "none") else more):
                continue
            case = {"arm": arm, "method": "none" if arm == "none" else "fastvmt", "clip": "demo/table/" + clip["file"],
                    "prompt": clip["prompt"], "seed": seed, "settings": settings, "subject": clip["subject"], "path": clip["path"]}
            if y4m:
                case["clip"] = f"{out}/{pathlib.Path(clip['file']).stem}.y4m"
                case["embeddings"] = f"{out}/{clip['prompt'].replace(' ', '_')}.safetensors"
            print(json.dumps(case))
scores = ["path_correlation", "fidelity", "subject_likeness", "subject_found", "smoothness", "flicker"]
for arm in arms:
    if arm not in ("exact", "none"):
        print(json.dumps({"claim": {"a": arm, "b": "exact", "baseline": "none", "margin": 0.05, "scores": scores}}))
PYTHON
[ -z "${LIST_ONLY:-}" ] || exit 0
exec "$program" bench table "$out/manifest.jsonl" -m "${MODEL:-models/tiny}" -o "$out" --jobs "$jobs" "$@"
