#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The quality report: every method and ablation on the clips of demo/table, with the tiny model.
# usage: tools/quality/quality_table.sh PROGRAM OUT [JOBS] [OPTIONS of bench table]
#   tools/quality/quality_table.sh build/release/fastvmt build/table 16
# SEEDS (17) of fastvmt, ditflow-10 and none on CLIPS (28) clips; MORE (4) of the rest; PROMPTS (1) of each clip.  Y4M=1: clips and embeddings are turned into what a
# machine without libav and sentencepiece reads (needs ffmpeg here); LIST_ONLY=1 stops after the manifest.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$1 out=$2 jobs=${3:-$(nproc)}
shift $(($# < 3 ? $# : 3))
mkdir -p "$out"
[ -z "${Y4M:-}" ] || tools/quality/portable_clips.sh "$program" models/tiny demo/table/clips.json "$out"
python3 - "$out" "${Y4M:-}" "${SEEDS:-17}" "${MORE:-4}" "${CLIPS:-28}" "${PROMPTS:-1}" >"$out/manifest.jsonl" <<'PYTHON'
import json, os, pathlib, sys

y4m, (seeds, more, count, prompts) = sys.argv[2], map(int, sys.argv[3:7])
folder = os.path.relpath(os.path.realpath("demo/table"), os.path.realpath(sys.argv[1]))  # names begin at the manifest
methods = ["fastvmt", "ditflow-10", "none", "noise", "ditflow", "motionclone", "moft", "smm", "flowmotion"]
arms = {m: (m, {}) for m in methods}
arms |= {
    "no window": ("fastvmt", {"amf-window": 0}),
    "no track loss": ("fastvmt", {"track-weight": 0}),
    "window 3": ("fastvmt", {"amf-window": 3}),
    "window 7": ("fastvmt", {"amf-window": 7}),
    "clean reference": ("fastvmt", {"ref-time": "clean"}),
    "from noise": ("fastvmt", {"init": "noise", "strength": 1}),
    "released": ("fastvmt", {"variant": "released"}),
}
arms |= {f"interval {n}": ("fastvmt", {"grad-reuse-interval": n}) for n in (1, 2, 4, 5)}
arms |= {f"block {n}": ("fastvmt", {"block": n}) for n in (3, 4, 6)}
clips = json.loads(pathlib.Path("demo/table/clips.json").read_text())[:count]
for seed in range(1, max(seeds, more) + 1):
    for at, (arm, (method, settings)) in ((a, b) for a in range(len(clips) * prompts) for b in arms.items()):
        if seed <= (seeds if arm in methods[:3] else more):
            clip = clips[at // prompts]
            wanted = clips[(at // prompts + 5 * (at % prompts)) % len(clips)]  # the clip's own prompt, then those of others
            case = {"arm": arm, "method": method, "clip": f"{folder}/{clip['file']}", "prompt": wanted["prompt"], "seed": seed,
                    "settings": settings, "subject": wanted["subject"], "path": clip["path"]}
            if y4m:
                case["clip"] = f"{pathlib.Path(clip['file']).stem}.y4m"
                case["embeddings"] = f"{wanted['prompt'].replace(' ', '_')}.safetensors"
            print(json.dumps(case))
print(json.dumps({"claim": {"a": "fastvmt", "b": "ditflow-10", "baseline": "none", "margin": 0.05,
                            "scores": ["path_correlation", "fidelity", "subject_likeness", "subject_found", "smoothness", "flicker"]}}))
PYTHON
[ -z "${LIST_ONLY:-}" ] || exit 0
exec "$program" bench table "$out/manifest.jsonl" -m models/tiny -o "$out" --jobs "$jobs" "$@"
