#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/switches.svg: what each switch costs in motion fidelity against the time that is left, out of docs/switches.csv.

usage: tools/quality/switch_plot.py docs/switches.csv docs/switches.svg

Across: seconds of the loop at the 1.3B shape, 832x480, 81 frames, by count: the arm's passes (the tiny model's 25 steps) times what each
part took on an H100 (performance.md); of local attention the line through the two boxes measured there.  Up: paired difference of path
from `exact` of the same sitting with its 95 % interval.
"""
import csv, sys

REFERENCE = 0.241                                   # seconds: a pass of the reference
GRADIENT = lambda keys: 0.253 + 0.605 * keys        # a computed inner step
FORWARD = lambda keys: 0.198 + 0.309 * keys         # one of a plain step's two
GROUPS = [("local attention", "#c0392b", ("--attention", "--local")),
          ("gradients over guided steps, moments carried, fewer references", "#e08e0b", ("--reuse", "--ref-interval", "carry")),
          ("sampling: cache, cfg-until", "#1e8449", ("--cfg-until", "--cache")),
          ("gradients within a guided step, number of guided steps", "#2558a8", ("",))]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1200, 700, 60, 70, 20, 50


def seconds(row):
    keys = float(row["keys_guidance"])
    return (REFERENCE * float(row["references"]) + GRADIENT(keys) * float(row["gradients"])
            + FORWARD(float(row["keys_sampling"])) * float(row["forwards"]))


def group(row):
    return next((colour for _, colour, words in GROUPS if any(w in row["options"] for w in words)))


rows = [r for r in csv.DictReader(open(sys.argv[1])) if r["arm"] != "none" and seconds(r) < 84]  # the slowest computes every gradient
low_x, high_x, low_y, high_y = 20, 84, -0.66, 0.2
x_of = lambda s: LEFT + (s - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)
y_of = lambda v: TOP + (high_y - v) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)
svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
       f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
for v in range(-6, 3):
    y = y_of(v / 10)
    svg.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{"#444" if v == 0 else "#ddd"}"/>'
               f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{v / 10:+.1f}</text>')
for s in range(20, 90, 10):
    svg.append(f'<text x="{x_of(s):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{s}</text>')
svg.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">loop, seconds, by count</text>')
svg.append(f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">'
           "path, difference from exact</text>")
for i, (name, colour, _) in enumerate(GROUPS):
    svg.append(f'<circle cx="{LEFT + 8}" cy="{12 + 14 * i}" r="4" fill="{colour}"/><text x="{LEFT + 18}" y="{16 + 14 * i}">{name}</text>')
svg.append(f'<text x="{WIDTH - RIGHT}" y="16" text-anchor="end">ringed: the test, 700 pairs; full: against every third; hollow: an earlier sitting, against every fifth</text>')
taken = []
for row in sorted(rows, key=lambda r: r["sitting"] != "test"):
    x, y, half = x_of(seconds(row)), y_of(float(row["path"])), float(row["path_half"])
    colour, test = group(row), row["sitting"] == "test"
    svg.append(f'<g><title>{row["sitting"]}: {row["options"]}: {row["path"]} ± {row["path_half"]}</title>'
               f'<path d="M{x:.1f} {y_of(float(row["path"]) + half):.1f}V{y_of(float(row["path"]) - half):.1f}" stroke="{colour}" opacity=".35"/>'
               f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if test else 4}" fill="{"none" if row["sitting"] == "A" else colour}" '
               f'stroke="{"#000" if test else colour}" stroke-width="1.5"/>')
    spot = next((dy for dy in (4, -8, 15, -19, 26) if all(abs(y + dy - b) > 10 or abs(x - a) > 105 for a, b in taken)), None)
    if spot is not None:
        taken.append((x, y + spot))
        svg.append(f'<text x="{x + 7:.1f}" y="{y + spot:.1f}" font-size="9.5">{row["arm"]}</text>')
    svg.append("</g>")
open(sys.argv[2], "w").write("\n".join(svg + ["</svg>"]) + "\n")
