#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Clips and prompts of a list as a machine without libav and sentencepiece reads them: NAME.y4m and PROMPT_WITH_UNDERSCORES.safetensors.
# usage: tools/quality/portable_clips.sh PROGRAM MODEL LIST.json OUT     (clips lie beside the list; needs ffmpeg)
set -euo pipefail
program=$1 model=$2 list=$3 out=$4
for f in "$(dirname "$list")"/*.mkv; do
    ffmpeg -v error -y -i "$f" -pix_fmt yuv444p -strict -1 "$out/$(basename "$f" .mkv).y4m" </dev/null
done
python3 -c 'import json, sys; print("\n".join(c["prompt"] for c in json.load(open(sys.argv[1]))))' "$list" | sort -u |
    while read -r prompt; do
        "$program" embed -m "$model" -p "$prompt" -o "$out/${prompt// /_}.safetensors" -y -q </dev/null
    done
