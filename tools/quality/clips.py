# SPDX-License-Identifier: MIT
"""Reads clips as arrays [frame, y, x, rgb] of 0 to 255."""
import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read_y4m(path):
    """8-bit 4:4:4 Y4M, limited range, BT.601 -> float32 [frame, y, x, rgb]"""
    data = path.read_bytes()
    end = data.index(b"\n")
    head = data[:end].decode()
    w, h = (int(re.search(rf" {k}(\d+)", head)[1]) for k in "WH")
    if " C444" not in head:
        raise SystemExit(f"{path}: want C444, have {head}")
    size = len(b"FRAME\n") + 3 * w * h
    raw = np.frombuffer(data, np.uint8, offset=end + 1)
    planes = raw[: len(raw) // size * size].reshape(-1, size)[:, 6:].reshape(-1, 3, h, w).astype(np.float32)
    y, u, v = (planes[:, 0] - 16) * (255 / 219), (planes[:, 1] - 128) * (255 / 224), (planes[:, 2] - 128) * (255 / 224)
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -1)
    return rgb.clip(0, 255)


def read_ppm(path):
    data = path.read_bytes()
    m = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    w, h = int(m[1]), int(m[2])
    return np.frombuffer(data, np.uint8, 3 * w * h, m.end()).reshape(h, w, 3).astype(np.float32)


def read_clip(path):
    if path.is_dir():
        return np.stack([read_ppm(p) for p in sorted(path.glob("*.ppm"))])
    return read_y4m(path.with_suffix(".y4m"))
