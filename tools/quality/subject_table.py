#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Colours and shape of every sprite the tiny model knows -> src/table/subject_table.c, by which subject.c tells what is in a clip.

usage: tools/quality/subject_table.py SPRITES.npz      (needs numpy; SPRITES.npz: tools/tiny_model/sprites.py)
Of each sprite two histograms of 5 x 5 x 5 colours, within the root mean square radius and beyond it, as square roots; and a picture of 8 x 8
cells, 1.8 such radii from its middle to its edge: the object's share of the cell, and that times R, G, B.  All in 44 steps from '0' on.
"""
import pathlib
import sys

import numpy as np

BINS, STEPS, SIDE, FINER, SPAN = 5, 43, 8, 3, 1.8
ROOT = pathlib.Path(__file__).resolve().parents[2]


def histogram(rgb, weight):
    """Weights shared out linearly among the eight nearest colours."""
    out = np.zeros((BINS,) * 3)
    at = np.clip(rgb / 255 * (BINS - 1), 0, BINS - 1 - 1e-6)
    low, part = at.astype(int), at % 1
    for corner in range(8):
        bit = np.array([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        share = np.prod(np.where(bit, part, 1 - part), -1) * weight
        np.add.at(out, tuple((low + bit).T), share)
    return out.ravel() / max(out.sum(), 1e-9)


def features(tex):
    alpha = tex[..., 3].astype(float) / 255
    rgb = (tex[..., :3] / np.maximum(alpha, 1e-3)[..., None]).clip(0, 255)
    weight = np.where(alpha > 0.6, alpha, 0)
    y, x = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
    total = weight.sum()
    r2 = (x - (x * weight).sum() / total) ** 2 + (y - (y * weight).sum() / total) ** 2
    inner = r2 < (r2 * weight).sum() / total
    return [histogram(rgb[m], weight[m]) for m in (inner & (weight > 0), ~inner & (weight > 0))]


def shape(tex):
    alpha = tex[..., 3].astype(float) / 255
    rgb = (tex[..., :3] / np.maximum(alpha, 1e-3)[..., None]).clip(0, 255)
    mask = (alpha > 0.5).astype(float)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    total = mask.sum()
    cx, cy = (x * mask).sum() / total, (y * mask).sum() / total
    radius = np.sqrt((((x - cx) ** 2 + (y - cy) ** 2) * mask).sum() / total)
    at = ((np.arange(SIDE * FINER) + 0.5) / (SIDE * FINER) * 2 - 1) * SPAN * radius
    x, y = np.meshgrid(cx + at, cy + at)
    picture = np.pad(np.concatenate([mask[..., None], mask[..., None] * rgb / 255], -1), ((99, 99), (99, 99), (0, 0)))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    pick = lambda dy, dx: picture[top + 99 + dy, left + 99 + dx]
    fine = (pick(0, 0) * (1 - fx) + pick(0, 1) * fx) * (1 - fy) + (pick(1, 0) * (1 - fx) + pick(1, 1) * fx) * fy
    return fine.reshape(SIDE, FINER, SIDE, FINER, 4).mean((1, 3)).ravel()


def text(values):
    """No two question marks beside each other: compilers take them for more."""
    return "".join(chr(48 + round(STEPS * v)) for v in values).replace("??", '?""?').replace("??", '?""?')


def main():
    z = np.load(sys.argv[1])
    lines = []
    for name, colour, tex in zip(z["names"], z["colours"], z["tex"]):
        colours = text(np.sqrt(v) for h in features(tex) for v in h)
        lines.append(f'    {{"{(str(colour) + " " + str(name)).strip()}",\n     "{colours}",\n     "{text(shape(tex))}"}},')
    body = "\n".join(lines)
    (ROOT / "src/table/subject_table.c").write_text(f"""/* SPDX-License-Identifier: MIT
 *
 * Made by tools/quality/subject_table.py: colours and shapes of the sprites of
 * tools/tiny_model/sprites.py.
 */
#include "table/subject.h"

/* clang-format off */
const table_sprite table_sprites[] = {{
{body}
    {{0, 0, 0}},
}};
/* clang-format on */
""")


main()
