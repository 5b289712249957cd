# SPDX-License-Identifier: MIT
"""Procedural background canvases (numpy and PIL only), 12 named scenes."""
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CH, CW = 144, 240                       # canvas: 1.5 x the 96x160 frame


def vnoise(rng, gy, gx, h=CH, w=CW):
    g = rng.random((gy + 3, gx + 3)).astype(np.float32)
    im = Image.fromarray(g).resize((w + 2 * (w // gx + 1), h + 2 * (h // gy + 1)), Image.BICUBIC)
    return np.asarray(im)[h // gy:h // gy + h, w // gx:w // gx + w]


def fbm(rng, gy, gx, octaves=4, h=CH, w=CW):
    out, amp, tot = np.zeros((h, w), np.float32), 1.0, 0.0
    for o in range(octaves):
        out += amp * vnoise(rng, min(gy << o, h // 2), min(gx << o, w // 2), h, w)
        tot += amp
        amp *= 0.5
    return out / tot


def grad(top, bottom, h=CH, w=CW):
    t = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    return np.broadcast_to((1 - t) * np.array(top, np.float32) + t * np.array(bottom, np.float32), (h, w, 3)).copy()


def jit(rng, rgb, s=12):
    return np.array(rgb, np.float32) + rng.normal(0, s, 3).astype(np.float32)


def ridge(rng, base, amp, rough=5):
    """A horizon line: y for each column."""
    x = np.linspace(0, 1, CW)
    y = np.zeros(CW)
    for o in range(rough):
        f = (o + 1) * rng.uniform(0.7, 1.6)
        y += amp / (o + 1) ** 1.1 * np.sin(2 * np.pi * (f * x + rng.random()))
    return base + y


def below(line):
    return (np.arange(CH)[:, None] > line[None, :])[..., None]


def sky(rng):
    return grad(jit(rng, (120, 180, 235)), jit(rng, (205, 228, 245)))


def grass(rng):
    g = jit(rng, (70, 150, 55), 14)
    t = fbm(rng, 4, 6)[..., None] - 0.5
    blades = (vnoise(rng, 20, 70) - 0.5)[..., None]
    im = g + t * 60 + blades * 20
    im *= np.linspace(1.12, 0.85, CH, dtype=np.float32)[:, None, None]
    if rng.random() < 0.6:
        h = ridge(rng, rng.uniform(18, 50), 3, 3)
        im = np.where(below(h), im, sky(rng))
    if rng.random() < 0.5:
        p = Image.fromarray(im.clip(0, 255).astype(np.uint8)); d = ImageDraw.Draw(p)
        for _ in range(rng.integers(10, 40)):
            x, y = rng.integers(0, CW), rng.integers(60, CH)
            c = [(250, 240, 120), (250, 250, 250), (240, 120, 150)][rng.integers(3)]
            d.ellipse((x - 1, y - 1, x + 1, y + 1), fill=c)
        im = np.asarray(p, np.float32)
    return im


def sea(rng):
    im = grad(jit(rng, (60, 150, 200)), jit(rng, (15, 70, 140)))
    w = fbm(rng, 14, 4, 2) - 0.5
    im += w[..., None] * np.array((70, 80, 80))
    caps = np.clip((fbm(rng, 14, 6, 2) - 0.68) * 8, 0, 1)[..., None]
    im = im * (1 - caps * 0.8) + 240 * caps * 0.8
    if rng.random() < 0.6:
        h = np.full(CW, rng.uniform(22, 55))
        im = np.where(below(h), im, sky(rng))
    return im


def night(rng):
    im = grad(jit(rng, (8, 10, 35), 6), jit(rng, (30, 25, 75), 10))
    im += (fbm(rng, 3, 4) - 0.45)[..., None].clip(0) * np.array((110, 80, 160))
    p = Image.fromarray(im.clip(0, 255).astype(np.uint8)); d = ImageDraw.Draw(p)
    for _ in range(rng.integers(40, 90)):
        x, y, v = rng.integers(0, CW), rng.integers(0, CH), int(rng.integers(130, 256))
        r = rng.choice([0, 1, 1, 2], p=[.25, .35, .3, .1])
        c = (v, v, min(255, v + 15))
        if r == 0:
            d.rectangle((x, y, x + 1, y + 1), fill=c)
        else:
            d.ellipse((x - r, y - r, x + r, y + r), fill=c)
    return np.asarray(p.filter(ImageFilter.GaussianBlur(0.4)), np.float32)


def desert(rng):
    im = grad(jit(rng, (150, 195, 235)), jit(rng, (235, 225, 200)))
    base = rng.uniform(25, 50)
    n = rng.integers(3, 5)
    for i in range(n):
        line = ridge(rng, base + i * (CH - base) / n, rng.uniform(5, 10), 2)
        c = jit(rng, (226, 180, 105), 8) * (1.06 - 0.09 * i)
        slope = np.gradient(line)[None, :, None] * 40
        depth = (np.arange(CH)[:, None] - line[None, :])[..., None]
        im = np.where(below(line), c - slope + 18 * np.exp(-np.abs(depth) / 14) + (vnoise(rng, 40, 12) - .5)[..., None] * 6, im)
    return im


def snow(rng):
    im = grad(jit(rng, (170, 195, 220), 8), jit(rng, (215, 225, 235), 6))
    line = ridge(rng, rng.uniform(25, 60), 5, 3)
    g = jit(rng, (236, 241, 248), 4) + (fbm(rng, 4, 5)[..., None] - 0.5) * np.array((40, 32, 20))
    im = np.where(below(line), g, im)
    p = Image.fromarray(im.clip(0, 255).astype(np.uint8)); d = ImageDraw.Draw(p)
    if rng.random() < 0.6:
        for _ in range(rng.integers(4, 12)):
            x = int(rng.integers(0, CW)); y = int(line[x]) + 3; s = rng.uniform(5, 12)
            for k in range(3):
                yy = y - k * s * 0.6
                d.polygon([(x, yy - s * 1.2), (x - s * (.75 - .17 * k), yy), (x + s * (.75 - .17 * k), yy)], fill=(50, 90, 75))
    for _ in range(rng.integers(20, 90)):
        x, y = rng.integers(0, CW), rng.integers(0, CH)
        d.ellipse((x - 1, y - 1, x + 1, y + 1), fill=(252, 252, 255))
    return np.asarray(p, np.float32)


def city(rng):
    tops = [((130, 170, 215), (225, 215, 205)), ((60, 70, 110), (190, 140, 130)), ((150, 190, 230), (220, 235, 245))]
    a, b = tops[rng.integers(3)]
    im = grad(jit(rng, a), jit(rng, b))
    p = Image.fromarray(im.clip(0, 255).astype(np.uint8)); d = ImageDraw.Draw(p)
    road = int(rng.uniform(112, 134))
    for layer in range(2):
        x = -int(rng.integers(0, 15))
        while x < CW:
            w = int(rng.integers(18, 38)); h = int(rng.integers(35, 85) + (15 if layer == 0 else 0))
            v = rng.uniform(0.55, 1.0) if layer else rng.uniform(0.9, 1.2)
            c = tuple(int(q) for q in (jit(rng, (120, 122, 135), 14) * v).clip(0, 255))
            y = road - h
            d.rectangle((x, y, x + w, road), fill=c)
            if layer:
                lit = (245, 225, 140) if rng.random() < 0.6 else (190, 220, 240)
                for yy in range(y + 5, road - 6, 12):
                    for xx in range(x + 4, x + w - 5, 10):
                        if rng.random() < 0.7:
                            d.rectangle((xx, yy, xx + 4, yy + 6), fill=lit)
            x += w + int(rng.integers(0, 5))
    d.rectangle((0, road, CW, CH), fill=(72, 72, 78))
    for xx in range(0, CW, 24):
        d.rectangle((xx, (road + CH) // 2, xx + 12, (road + CH) // 2 + 2), fill=(225, 225, 210))
    return np.asarray(p, np.float32)


def brick(rng):
    c = jit(rng, (165, 75, 55), 12)
    im = np.empty((CH, CW, 3), np.float32); im[:] = jit(rng, (185, 165, 150), 8)
    bh, bw = int(rng.integers(14, 20)), int(rng.integers(32, 44))
    for r, y in enumerate(range(0, CH, bh)):
        for x in range(-(r % 2) * (bw // 2), CW, bw):
            im[y + 1:y + bh - 1, max(0, x + 1):max(0, x + bw - 1)] = c * rng.uniform(0.9, 1.1)
    return im + (fbm(rng, 5, 8, 2)[..., None] - 0.5) * 24


def forest(rng):
    im = grad(jit(rng, (95, 140, 85), 10), jit(rng, (50, 80, 40), 8))
    im += (fbm(rng, 6, 9, 2)[..., None] - 0.5) * np.array((60, 80, 45))
    p = Image.fromarray(im.clip(0, 255).astype(np.uint8)); d = ImageDraw.Draw(p)
    floor = int(rng.uniform(105, 128))
    d.rectangle((0, floor, CW, CH), fill=tuple(int(v) for v in jit(rng, (84, 66, 38), 8).clip(0, 255)))
    for layer in range(2):
        for _ in range(rng.integers(5, 9)):
            x = int(rng.integers(-5, CW)); w = int(rng.integers(5, 9) + 4 * layer)
            v = 0.6 + 0.35 * layer
            d.rectangle((x, 0, x + w, floor + 6 * layer), fill=tuple(int(q * v) for q in (105, 72, 45)))
    im = np.asarray(p, np.float32)
    leaf = fbm(rng, 5, 9, 2) + np.linspace(0.22, -0.35, CH, dtype=np.float32)[:, None]
    m = np.clip((leaf - 0.52) * 14, 0, 1)[..., None]
    g = jit(rng, (45, 105, 45), 8) + (fbm(rng, 10, 16, 1)[..., None] - .5) * 55
    im = im * (1 - m) + g * m
    m = np.clip((fbm(rng, 6, 12, 2) + np.linspace(-0.9, 0.28, CH, dtype=np.float32)[:, None] - 0.55) * 12, 0, 1)[..., None]
    return im * (1 - m) + (g * 0.9) * m


def bluesky(rng):
    im = grad(jit(rng, (70, 145, 230)), jit(rng, (165, 210, 245)))
    m = np.clip((fbm(rng, 3, 4, 4) - rng.uniform(0.5, 0.6)) * 6, 0, 0.95)[..., None]
    return im * (1 - m) + 250 * m


def sunset(rng):
    t = np.linspace(0, 1, CH)[:, None]
    stops = np.array([jit(rng, (70, 45, 110)), jit(rng, (215, 85, 90)), jit(rng, (250, 150, 60)), jit(rng, (255, 215, 120))])
    im = np.stack([np.interp(t[:, 0], [0, .4, .65, .85], stops[:, c]) for c in range(3)], -1)[:, None].repeat(CW, 1).astype(np.float32)
    x, y, r = rng.uniform(40, 200), rng.uniform(70, 100), rng.uniform(12, 18)
    yy, xx = np.mgrid[0:CH, 0:CW]
    d = np.sqrt((xx - x) ** 2 + (yy - y) ** 2)
    im += 60 * np.exp(-d / 40)[..., None]
    m = np.clip(r - d, 0, 1)[..., None]
    im = im * (1 - m) + np.array((255, 240, 190)) * m
    c = np.clip((fbm(rng, 14, 3, 3) - 0.56) * 6, 0, .6)[..., None]
    im = im * (1 - c) + np.array((255, 190, 150)) * c
    line = ridge(rng, rng.uniform(105, 120), 6, 4)
    return np.where(below(line), jit(rng, (40, 28, 48), 5), im)


def mountains(rng):
    im = sky(rng)
    for i in range(3):
        x = np.arange(CW)
        line = np.full(CW, 1e9)
        for _ in range(rng.integers(3, 6)):
            px, py, s = rng.uniform(0, CW), rng.uniform(18, 50) + 26 * i, rng.uniform(0.6, 1.1)
            line = np.minimum(line, py + np.abs(x - px) * s)
        line += vnoise(rng, 4, 30)[0] * 7
        c = jit(rng, [(135, 150, 175), (100, 115, 135), (75, 105, 80)][i], 8)
        shade = np.sign(np.gradient(line))[None, :, None] * -14
        face = c + shade + (fbm(rng, 6, 9, 2)[..., None] - .5) * 18
        if i < 2:
            depth = np.arange(CH)[:, None] - line.min() - vnoise(rng, 3, 30) * 16
            face = np.where((depth < 22)[..., None], 238 + shade * .8, face)
        im = np.where(below(line), face, im)
    return im


def road(rng):
    g = jit(rng, (95, 150, 70), 12) + (fbm(rng, 6, 10, 2)[..., None] - .5) * 50
    im = np.broadcast_to(g, (CH, CW, 3)).copy()
    y0, y1 = int(rng.uniform(18, 38)), int(rng.uniform(106, 126))
    im[y0:y1] = jit(rng, (92, 92, 98), 8) + (vnoise(rng, 20, 30)[y0:y1, :, None] - .5) * 14
    im[y0 + 2:y0 + 5] = 225; im[y1 - 5:y1 - 2] = 225
    m, off = (y0 + y1) // 2, int(rng.integers(0, 40))
    for x in range(-off, CW, 40):
        im[m - 2:m + 2, max(0, x):max(0, x + 22)] = (240, 235, 190)
    return im


SCENES = {"grass": grass, "sea": sea, "night": night, "desert": desert, "snow": snow, "city": city,
          "brick": brick, "forest": forest, "sky": bluesky, "sunset": sunset, "mountains": mountains,
          "road": road}
NAMES = list(SCENES)


def make(args):
    """(scene index, seed) -> uint8 canvas [3, CH, CW]."""
    k, seed = args
    im = SCENES[NAMES[k]](np.random.default_rng(seed))
    return im.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def bank(per_scene, seed=1, workers=1):
    jobs = [(k, seed * 1000003 + k * 20011 + i) for k in range(len(NAMES)) for i in range(per_scene)]
    if workers > 1:
        import multiprocessing as mp
        with mp.get_context("fork").Pool(workers) as p:
            out = p.map(make, jobs, chunksize=8)
    else:
        out = [make(j) for j in jobs]
    return np.stack(out), np.array([j[0] for j in jobs])


if __name__ == "__main__":
    import sys, time
    t = time.time()
    b, k = bank(6)
    print(b.shape, (time.time() - t) / len(b), "s each")
    Image.fromarray(b.reshape(12, 6, 3, CH, CW).transpose(0, 3, 1, 4, 2).reshape(12 * CH, 6 * CW, 3)).save(sys.argv[1])
