#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Scores what tools/quality/run.sh made: path agreement with the reference, and leak of its look.

usage: tools/quality/score.py OUT REFS [CSV]      (needs numpy)
REFS: a folder of clips as NAME/0001.ppm ... or NAME.y4m.  Writes one line per run to CSV, prints the tables of docs/quality.md.
"""
import csv
import json
import pathlib
import sys

import numpy as np

from clips import ROOT, read_clip, read_y4m

ARMS = ("noise", "start", "guided", "released")
HALF = 12  # the patch around the object is 25 x 25 pixels


def track(clip):
    """Centroid (x, y) of the strongest difference from the temporal median, after a 9 x 9 mean; median of 3 frames."""
    diff = np.abs(clip - np.median(clip, 0)).sum(-1)
    pad = np.pad(diff, ((0, 0), (5, 4), (5, 4))).cumsum(1).cumsum(2)
    diff = (pad[:, 9:, 9:] - pad[:, :-9, 9:] - pad[:, 9:, :-9] + pad[:, :-9, :-9]) / 81
    weight = np.maximum(diff - 0.6 * diff.max((1, 2), keepdims=True), 0)
    total = weight.sum((1, 2)) + 1e-9
    x = (weight.sum(1) * np.arange(diff.shape[2])).sum(1) / total
    y = (weight.sum(2) * np.arange(diff.shape[1])).sum(1) / total
    at = np.stack([x, y], -1) + 0.5
    before, after = np.concatenate([at[:1], at[:-1]]), np.concatenate([at[1:], at[-1:]])
    return np.median(np.stack([before, at, after]), 0)


def agreement(clip, path):
    """Correlation with the path (x and y weighted by the path's variance; an axis that moves < 4 px is left out), distance in px."""
    seen = track(clip)
    a, b = seen - seen.mean(0), path - path.mean(0)
    weight = (b**2).sum(0)
    corr = (a * b).sum(0) / (np.sqrt((a**2).sum(0) * weight) + 1e-6)
    use = path.std(0, ddof=1) > 4
    return (corr * weight)[use].sum() / weight[use].sum(), np.linalg.norm(seen - path, axis=1).mean()


def pearson(a, b):
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    return float((a * b).sum() / (np.sqrt((a**2).sum() * (b**2).sum()) + 1e-6))


def patch(frame, at):
    x, y = int(at[0]), int(at[1])
    padded = np.pad(frame, ((HALF, HALF), (HALF, HALF), (0, 0)), mode="edge")
    return padded[y : y + 2 * HALF + 1, x : x + 2 * HALF + 1]


class Reference:
    def __init__(self, entry, folder):
        self.name = entry["file"].removesuffix(".mkv")
        self.path = np.array(entry["path_px"], np.float32)
        self.clip = read_clip(folder / self.name)
        self.still = np.median(self.clip, 0)
        self.patches = [patch(f, p) for f, p in zip(self.clip, self.path)]


def leak(clip, own, refs):
    """Likeness to the own reference beside the mean likeness to the other references (what chance gives)."""
    still, patches = np.median(clip, 0), [patch(f, p) for f, p in zip(clip, own.path)]
    out = {}
    for key, like in (
        ("scene", lambda r: pearson(still, r.still)),
        ("object", lambda r: float(np.mean([pearson(a, b) for a, b in zip(patches, r.patches)]))),
        ("colour", lambda r: float(np.linalg.norm(still.mean((0, 1)) - r.still.mean((0, 1))))),
    ):
        out[key] = like(own)
        out[key + "_other"] = float(np.mean([like(r) for r in refs if r is not own]))
    return out


def interval(x, rng, groups=None):
    """95% percentile bootstrap of the mean: over single values, or over whole groups (clips)."""
    x = np.asarray(x)
    if groups is None:
        means = x[rng.integers(0, len(x), (10000, len(x)))].mean(1)
    else:
        per = np.array([x[np.asarray(groups) == g].mean() for g in sorted(set(groups))])
        means = per[rng.integers(0, len(per), (10000, len(per)))].mean(1)
    return np.percentile(means, [2.5, 97.5])


def report(rows, refs):
    rng = np.random.default_rng(0)
    table = {(r["arm"], r["clip"], r["seed"]): r for r in rows}
    arms = [a for a in ARMS if any(r["arm"] == a for r in rows)]
    mean = lambda arm, key: np.mean([r[key] for r in rows if r["arm"] == arm])
    print("| arm | runs | correlation | > 0.7 | distance, px |\n| --- | --- | --- | --- | --- |")
    for arm in arms:
        c = np.array([r["corr"] for r in rows if r["arm"] == arm])
        print(f"| {arm} | {len(c)} | {c.mean():+.2f} | {100 * (c > 0.7).mean():.0f}% | {mean(arm, 'px'):.1f} |")
    c = np.array([agreement(r.clip, r.path) for r in refs])
    print(f"| the references themselves | {len(refs)} | {c[:, 0].mean():+.3f} | {100 * (c[:, 0] > 0.7).mean():.0f}% | {c[:, 1].mean():.1f} |")
    print("\n| paired difference | pairs | mean | 95% interval, pairs | 95% interval, clips | pairs won |\n| --- | --- | --- | --- | --- | --- |")
    for a, b in (("guided", "start"), ("guided", "noise"), ("released", "start"), ("guided", "released"), ("start", "noise")):
        keys = [k[1:] for k in table if k[0] == a and (b, *k[1:]) in table]
        for what in ("corr", "px") if keys else ():
            d = np.array([table[(a, *k)][what] - table[(b, *k)][what] for k in keys])
            one, two = interval(d, rng), interval(d, rng, [k[0] for k in keys])
            won = 100 * ((d > 0) if what == "corr" else (d < 0)).mean()
            print(f"| {a} - {b}, {what} | {len(d)} | {d.mean():+.2f} | {one[0]:+.2f} to {one[1]:+.2f} | {two[0]:+.2f} to {two[1]:+.2f} | {won:.0f}% |")
    print("\n| arm | scene: own, others | object: own, others | colour distance: own, others |\n| --- | --- | --- | --- |")
    for arm in arms:
        print(f"| {arm} | " + " | ".join(f"{mean(arm, k):.2f}, {mean(arm, k + '_other'):.2f}" for k in ("scene", "object", "colour")) + " |")
    print("\n| clip | " + " | ".join(arms) + " | " + "guided, each seed |\n| --- |" + " --- |" * (len(arms) + 1))
    for r in refs:
        cells = [np.mean([x["corr"] for x in rows if x["arm"] == a and x["clip"] == r.name] or [np.nan]) for a in arms]
        each = [x["corr"] for x in sorted(rows, key=lambda x: x["seed"]) if x["arm"] == "guided" and x["clip"] == r.name]
        print(f"| {r.name} | " + " | ".join(f"{c:+.2f}" for c in cells) + " | " + " ".join(f"{c:+.2f}" for c in each) + " |")


def main():
    out, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    refs = [Reference(e, folder) for e in json.loads((ROOT / "demo/refs/refs.json").read_text())]
    by_name = {r.name: r for r in refs}
    rows = []
    for path in sorted(out.glob("*.y4m")):
        arm, clip, seed = path.stem.split("-")
        own, video = by_name[clip], read_y4m(path)
        corr, px = agreement(video, own.path)
        rows.append({"arm": arm, "clip": clip, "seed": int(seed), "corr": corr, "px": px, **leak(video, own, refs)})
    if len(sys.argv) > 3:
        with open(sys.argv[3], "w", newline="") as f:
            writer = csv.DictWriter(f, rows[0].keys())
            writer.writeheader()
            writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    report(rows, refs)


if __name__ == "__main__":
    main()
