#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what tests/unit/test_table_path.c expects: places and agreement of a made-up clip by the definition in score.py.

usage: tools/quality/path_golden.py      (needs numpy)
"""
import numpy as np

from score import agreement, track

FRAMES, W, H = 24, 96, 64


def clip():
    """Integers only, so that C makes the same: a patterned ground with noise, an object, a weaker one that moves the other way."""
    f, y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in (FRAMES, H, W, 3)), indexing="ij")
    noise = (f * np.uint32(73856093) ^ y * np.uint32(19349663) ^ x * np.uint32(83492791) ^ c * np.uint32(2654435761)) >> np.uint32(13)
    out = 60 + (x * 7 + y * 13 + c * 29) % 50 + noise % 9
    px, py = places()
    at = np.abs(x.astype(int) - (95 - px[f])) + np.abs(y.astype(int) - 12) <= 5
    out = np.where(at, out + 35, out)
    at = (np.abs(x.astype(int) - px[f]) <= 7) & (np.abs(y.astype(int) - py[f]) <= 5)
    return np.where(at, 230 - 60 * c, out).astype(float)


def places():
    f = np.arange(FRAMES)
    return 12 + 3 * f, 20 + (f * f) % 37 // 2


def main():
    video = clip()
    px, py = places()
    print("\n".join(f"{{{x:.9f}, {y:.9f}}}," for x, y in track(video)))
    for frames, slope in ((24, 1.0), (23, 1.0), (24, 0.1)):  # slope 0.1: y moves less than 4 px
        want = np.stack([px + np.arange(FRAMES) % 3 - 0.5, 30 + slope * (1.1 * py - 30)], -1)
        print(frames, slope, "{%.9f, %.9f}" % agreement(video[:frames], want[:frames]))


main()
