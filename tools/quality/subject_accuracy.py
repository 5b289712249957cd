#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How often the subject score names the right sprite: each of the tiny model's, moving over an unused canvas, through the autoencoder.

usage: tools/quality/subject_accuracy.py PROGRAM SPRITES.npz OUT [JOBS]      (numpy, Pillow, ffmpeg; SPRITES.npz: tools/tiny_model/sprites.py)
  tools/quality/subject_accuracy.py build/release/fastvmt sprites.npz build/subjects 4
Makes the clips with table_clips.py --known, runs them with hardly any noise and one step (some 5 s of a core each), prints the share that is
right, the same for the subjects of demo/table, and what was taken for what.  OUT/results.jsonl stays: run again, it prints.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    program, sprites, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    jobs = sys.argv[4] if len(sys.argv) > 4 else "1"
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "clips.json").exists():
        subprocess.run([sys.executable, ROOT / "tools/quality/table_clips.py", "--known", sprites, out], check=True)
    with open(out / "manifest.jsonl", "w") as f:
        for clip in json.loads((out / "clips.json").read_text()):
            case = {"arm": "clean", "method": "none", "clip": clip["file"], "prompt": clip["prompt"], "subject": clip["subject"],
                    "path": clip["path"], "settings": {"steps": 1, "strength": 0.01, "cfg": 1}}
            f.write(json.dumps(case) + "\n")
    run = [program, "bench", "table", out / "manifest.jsonl", "-m", ROOT / "models/tiny", "-o", out, "--videos", "none", "--jobs", jobs, "-q"]
    subprocess.run(run, check=True)
    rows = [json.loads(line) for line in open(out / "results.jsonl")]
    right = {r["subject"]: r["scores"]["subject_found"] or 0 for r in rows}
    named = {c["subject"] for c in json.loads((ROOT / "demo/table/clips.json").read_text())}
    of = lambda names: f"{sum(right[n] for n in names)} of {len(names)}, {100 * sum(right[n] for n in names) / len(names):.0f}%"
    print(f"right: {of(right)}; of the subjects of demo/table {of(named & right.keys())}")
    paths = [r["scores"]["path_correlation"] for r in rows]
    print(f"path correlation: mean {sum(paths) / len(paths):.3f}, least {min(paths):.3f}")
    for r in rows:
        if not right[r["subject"]]:
            print(f"  {r['subject']}: taken for {r.get('subject_seen', 'nothing')}")


main()
