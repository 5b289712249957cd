#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes 4 frames of each clip, side by side, as DIR/ARM-NAME-SEED.ppm and DIR/ref-NAME.ppm, for sheet.sh.

usage: tools/quality/strips.py OUT REFS DIR      (needs numpy; arguments as score.py)
"""
import json
import pathlib
import sys

import numpy as np

from clips import ROOT, read_clip, read_y4m

TIMES = (2, 11, 20, 29)


def write(path, clip):
    row = np.concatenate([clip[t] for t in TIMES], 1).round().astype(np.uint8)
    path.write_bytes(b"P6\n%d %d\n255\n" % (row.shape[1], row.shape[0]) + row.tobytes())


def main():
    out, refs, folder = (pathlib.Path(a) for a in sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    for entry in json.loads((ROOT / "demo/refs/refs.json").read_text()):
        name = entry["file"].removesuffix(".mkv")
        write(folder / f"ref-{name}.ppm", read_clip(refs / name))
    for path in sorted(out.glob("*.y4m")):
        write(folder / f"{path.stem}.ppm", read_y4m(path))


main()
