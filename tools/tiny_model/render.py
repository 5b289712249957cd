# SPDX-License-Identifier: MIT
"""Endless synthetic clips: named sprites moving over named scenes, with captions that tell the
objects, their colours, the scene and the look, but never the motion.

draw() makes the parameters of one clip (numpy, cheap, runs in worker processes);
Renderer.compose() turns a batch of them into video on the GPU (or CPU).
"""
import numpy as np
import torch
import torch.nn.functional as F

import backgrounds as bgs

T, H, W, FPS = 33, 96, 160, 16

PLACES = {
    "grass": ["on grass", "on the grass", "on a green field", "on a lawn", "in a meadow"],
    "sea": ["on the sea", "over the sea", "on blue water", "on the ocean", "in the sea"],
    "night": ["in the night sky", "at night under the stars", "in a starry night sky", "among the stars"],
    "desert": ["in the desert", "in a sandy desert", "on sand dunes", "on sand"],
    "snow": ["on snow", "in the snow", "in a snowy field", "in winter"],
    "city": ["in the city", "in a city street", "in front of buildings", "in a town"],
    "brick": ["in front of a brick wall", "on a brick wall", "by a red brick wall", "against a brick wall"],
    "forest": ["in a forest", "in the forest", "in the woods", "among the trees"],
    "sky": ["in the blue sky", "in the sky", "among the clouds", "in a cloudy sky"],
    "sunset": ["at sunset", "in front of a sunset", "in the evening sun", "at dusk"],
    "mountains": ["in the mountains", "in front of mountains", "near snowy mountains"],
    "road": ["on a road", "on the road", "on the street", "on a highway"],
}
LOOKS = {"": [""], "bw": ["in black and white", "black and white film"],
         "sepia": ["in sepia", "old sepia film"], "fog": ["in fog", "on a foggy day"]}
LOOK_NAMES = list(LOOKS)
ALIAS = {"dog": ["dog", "dog", "puppy"], "cat": ["cat", "cat", "kitten"], "airplane": ["airplane", "plane"],
         "rabbit": ["rabbit", "bunny"], "bicycle": ["bicycle", "bike"], "soccer ball": ["soccer ball", "football"],
         "sailboat": ["sailboat", "boat"], "scooter": ["scooter", "moped"], "orange": ["orange", "orange fruit"],
         "cow": ["cow"], "train": ["train", "locomotive"], "circle": ["circle", "disc"]}
# colour and scene that would make the object vanish
CLASH = {("white", "snow"), ("black", "night"), ("white", "sky"), ("green", "forest"), ("green", "grass"),
         ("blue", "sea"), ("blue", "sky"), ("black", "sunset")}


class Catalogue:
    def __init__(self, path):
        z = np.load(path)
        self.names = [str(x) for x in z["names"]]
        self.colours = [str(x) for x in z["colours"]]
        self.kinds = [str(x) for x in z["kinds"]]
        self.tex = z["tex"]                                  # [N, S, S, 4] premultiplied
        self.nouns = sorted(set(self.names))
        self.noun = np.array([self.nouns.index(n) for n in self.names])
        self.by_kind = {k: [i for i, q in enumerate(self.kinds) if q == k] for k in ("natural", "recolour", "shape")}
        self.recol_nouns = sorted({self.names[i] for i in self.by_kind["recolour"]})


def article(phrase):
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith("uni") else "a ") + phrase


# ---------------------------------------------------------------- motion
def warp(rng, t):
    k = rng.integers(5)
    if k == 0:
        return t * t
    if k == 1:
        return 1 - (1 - t) ** 2
    if k == 2:
        return t * t * (3 - 2 * t)
    return t


def path(rng, kind=None):
    """(x, y, scale, angle) over T frames; pixels, factor, radians."""
    t = np.linspace(0, 1, T)
    kind = rng.choice(MOTIONS, p=MOTION_P) if kind is None else kind
    s, a = np.ones(T), np.zeros(T)
    cx, cy = rng.uniform(40, W - 40), rng.uniform(28, H - 28)
    sign = rng.choice([-1, 1])
    if kind == "linear":
        th = rng.uniform(0, 2 * np.pi)
        d = rng.uniform(25, 75)
        u = warp(rng, t) - 0.5
        x, y = W / 2 + rng.uniform(-25, 25) + np.cos(th) * 2 * d * u, H / 2 + rng.uniform(-14, 14) + np.sin(th) * 1.1 * d * u
    elif kind == "across":
        u = warp(rng, t)
        x = (W / 2 + sign * (u - 0.5) * rng.uniform(90, 140)) + rng.uniform(-8, 8)
        y = np.full(T, rng.uniform(25, H - 25)) + u * rng.uniform(-20, 20)
    elif kind == "vertical":
        u = warp(rng, t)
        y = H / 2 + sign * (u - 0.5) * rng.uniform(40, 75)
        x = np.full(T, cx) + u * rng.uniform(-12, 12)
    elif kind == "bounce":
        n = rng.uniform(1.2, 3.5)
        ph = rng.uniform(0, 1)
        hgt = rng.uniform(22, 50)
        q = (t * n + ph) % 1
        y = rng.uniform(66, 76) - hgt * 4 * q * (1 - q)
        x = W / 2 + sign * (t - 0.5) * rng.uniform(0, 115) + rng.uniform(-10, 10)
    elif kind == "throw":
        hgt = rng.uniform(30, 55)
        y = 76 - hgt * 4 * t * (1 - t) + rng.uniform(-6, 6)
        x = W / 2 + sign * (t - 0.5) * rng.uniform(50, 125)
    elif kind == "circle":
        r, n, ph = rng.uniform(14, 30), rng.uniform(0.5, 1.8) * sign, rng.uniform(0, 2 * np.pi)
        e = rng.uniform(0.8, 1.7)
        cx, cy = np.clip(cx, 22 + r * e, W - 22 - r * e) if r * e < 56 else W / 2, np.clip(cy, 16 + r, H - 16 - r)
        x, y = cx + r * e * np.cos(2 * np.pi * n * t + ph), cy + r * np.sin(2 * np.pi * n * t + ph)
    elif kind == "zigzag":
        n, ph, amp = rng.uniform(1, 3), rng.uniform(0, 1), rng.uniform(12, 30)
        q = np.abs(((t * n + ph) % 1) * 2 - 1) * 2 - 1
        if rng.random() < 0.7:
            x, y = W / 2 + sign * (t - 0.5) * rng.uniform(70, 120), H / 2 + rng.uniform(-8, 8) + amp * q
        else:
            x, y = cx + 1.3 * amp * q, H / 2 + sign * (t - 0.5) * rng.uniform(35, 60)
    elif kind == "wave":
        n, ph, amp = rng.uniform(0.7, 2.5), rng.uniform(0, 2 * np.pi), rng.uniform(8, 26)
        x, y = W / 2 + sign * (t - 0.5) * rng.uniform(60, 120), H / 2 + rng.uniform(-8, 8) + amp * np.sin(2 * np.pi * n * t + ph)
    elif kind == "swing":
        n, ph, th = rng.uniform(0.6, 2.2), rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
        r = rng.uniform(15, 50)
        q = np.sin(2 * np.pi * n * t + ph)
        x, y = np.clip(cx, 55, W - 55) + r * np.cos(th) * q, H / 2 + rng.uniform(-6, 6) + 0.6 * r * np.sin(th) * q
    elif kind == "zoom":
        a0, a1 = rng.uniform(0.55, 0.8), rng.uniform(1.2, 1.6)
        if sign > 0:
            a0, a1 = a1, a0
        s = a0 * (a1 / a0) ** warp(rng, t)
        x, y = cx + (t - .5) * rng.uniform(-30, 30), cy + (t - .5) * rng.uniform(-15, 15)
    elif kind == "spin":
        x, y = cx + (t - .5) * rng.uniform(-20, 20), cy + (t - .5) * rng.uniform(-10, 10)
        a = a + sign * 2 * np.pi * rng.uniform(0.25, 1.5) * warp(rng, t)
    elif kind == "still":
        x, y = np.full(T, cx), np.full(T, cy)
        if rng.random() < 0.5:
            amp = rng.uniform(1, 4)
            x = x + amp * np.sin(2 * np.pi * rng.uniform(1, 4) * t); y = y + amp * np.cos(2 * np.pi * rng.uniform(1, 4) * t)
    else:                                                   # "spline": random way points
        n = rng.integers(3, 6)
        px, py = rng.uniform(24, W - 24, n + 2), rng.uniform(20, H - 20, n + 2)
        q = t * (n - 1) * 0.999
        i, f = q.astype(int), q - q.astype(int)

        def cr(p):
            p0, p1, p2, p3 = p[i], p[i + 1], p[i + 2], p[np.minimum(i + 3, n + 1)]
            return 0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f ** 2 + (3 * p1 - p0 - 3 * p2 + p3) * f ** 3)
        x, y = cr(px), cr(py)
    if kind not in ("spin", "still") and rng.random() < 0.2:
        a = a + rng.choice([-1, 1]) * 2 * np.pi * rng.uniform(0.2, 1.2) * t
    elif rng.random() < 0.3:
        a = a + rng.uniform(0.1, 0.35) * np.sin(2 * np.pi * rng.uniform(0.7, 2.5) * t + rng.uniform(0, 6))
    if kind != "zoom" and rng.random() < 0.15:
        s = s * rng.uniform(0.75, 1.3) ** t
    return np.stack([x, y, s, a], -1).astype(np.float32)


MOTIONS = ["linear", "across", "vertical", "bounce", "throw", "circle", "zigzag", "wave", "swing", "zoom", "spin", "still", "spline"]
MOTION_P = np.array([1.2, 1.2, .8, 1.2, .8, 1.3, 1, 1, 1, .8, .6, .5, 1.6])
MOTION_P /= MOTION_P.sum()


def camera(rng, kind=None):
    """(x, y, zoom, angle): canvas point at the frame centre, canvas pixels a frame pixel, radians."""
    t = np.linspace(0, 1, T)
    z0 = rng.uniform(0.8, 1.15)
    mx, my = (bgs.CW - W * z0) / 2, (bgs.CH - H * z0) / 2
    x = np.full(T, bgs.CW / 2 + rng.uniform(-mx, mx)); y = np.full(T, bgs.CH / 2 + rng.uniform(-my, my))
    z, a = np.full(T, z0), np.zeros(T)
    kind = rng.choice(["static", "pan", "zoom", "shake", "arc"], p=[.5, .24, .12, .08, .06]) if kind is None else kind
    if kind == "pan":
        x1 = bgs.CW / 2 + rng.uniform(-mx, mx)
        y1 = bgs.CH / 2 + rng.uniform(-my, my)
        w = warp(rng, t)
        x, y = x + (x1 - x) * w, y + (y1 - y) * w
    elif kind == "zoom":
        z1 = np.clip(z0 * rng.choice([rng.uniform(0.65, 0.85), rng.uniform(1.1, 1.3)]), 0.6, 1.3)
        z = z0 * (z1 / z0) ** warp(rng, t)
        x, y = bgs.CW / 2 + (x - bgs.CW / 2) * .4, bgs.CH / 2 + (y - bgs.CH / 2) * .4
    elif kind == "shake":
        n = np.cumsum(rng.normal(0, 1, (T, 2)), 0)
        n = n - n.mean(0)
        n *= rng.uniform(1, 4) / (n.std() + 1e-3)
        x, y = x + n[:, 0], y + n[:, 1]
    elif kind == "arc":
        r = rng.uniform(5, min(mx, my) + 4)
        ph = rng.uniform(0, 6.28)
        n = rng.uniform(-1.2, 1.2)
        x, y = x + r * np.cos(6.28 * n * t + ph), y + r * np.sin(6.28 * n * t + ph)
    return np.stack([x, y, z, a], -1).astype(np.float32)


# ---------------------------------------------------------------- one clip's parameters
def pick(rng, cat, scene):
    while True:
        r = rng.random()
        if r < 0.52:
            i = int(rng.choice(cat.by_kind["natural"]))
        elif r < 0.8:
            n = cat.recol_nouns[rng.integers(len(cat.recol_nouns))]
            i = int(rng.choice([j for j in cat.by_kind["recolour"] if cat.names[j] == n]))
        else:
            i = int(rng.choice(cat.by_kind["shape"]))
        if (cat.colours[i], scene) not in CLASH:
            return i


def phrase(rng, cat, i, plain=False):
    n = cat.names[i]
    if not plain:
        n = rng.choice(ALIAS.get(n, [n]))
    c = cat.colours[i]
    return f"{c} {n}" if c and (plain or rng.random() < 0.95) else str(n)


def caption(rng, cat, ids, scene, look):
    place = str(rng.choice(PLACES[scene]))
    ph = [phrase(rng, cat, i) for i in ids]
    r = rng.random()
    if r < 0.72:
        body = " and ".join(article(p) for p in ph)
        text = f"{body} {place}"
    elif r < 0.80:
        text = f"{' and '.join('the ' + p for p in ph)} {place}"
    elif r < 0.88:
        text = f"{', '.join(ph)}, {place.split(' ', 1)[1] if rng.random() < .5 and ' ' in place else place}"
    elif r < 0.94:
        text = f"{rng.choice(['a video of', 'a clip of', 'a cartoon of'])} {' and '.join(article(p) for p in ph)} {place}"
    else:
        be = "are" if len(ph) > 1 else "is"
        text = f"{' and '.join(article(p) for p in ph)} {be} {place}"
    if look:
        text += ", " + str(rng.choice(LOOKS[look]))
    if rng.random() < 0.2:
        text = text[0].upper() + text[1:] + "."
    return text


def draw(rng, cat, bank_scene, motion=None, cam=None, ids=None, scene=None, look=None):
    scene = bgs.NAMES[rng.integers(len(bgs.NAMES))] if scene is None else scene
    rows = np.flatnonzero(bank_scene == bgs.NAMES.index(scene))
    if ids is None:
        n = 2 if rng.random() < 0.28 else 1
        ids = [pick(rng, cat, scene) for _ in range(n)]
        if n == 2 and cat.names[ids[0]] == cat.names[ids[1]]:
            ids = ids[:1]
    if look is None:
        r = rng.random()
        look = "" if r < 0.86 else LOOK_NAMES[1 + int(rng.integers(3))]
    pose = np.zeros((2, T, 4), np.float32)
    spr = np.full(2, -1, np.int64)
    flip = np.ones(2, np.float32)
    for k, i in enumerate(ids):
        spr[k] = i
        pose[k] = path(rng, motion if k == 0 else None)
        pose[k, :, 2] *= rng.uniform(34, 54) if len(ids) == 1 else rng.uniform(30, 44)   # edge in pixels
        np.clip(pose[k, :, 2], 24, 76, out=pose[k, :, 2])
        flip[k] = rng.choice([-1.0, 1.0])
    if len(ids) == 2 and abs(pose[0, 0, :2] - pose[1, 0, :2]).sum() < 40:      # start apart
        dx = 26 if pose[0, :, 0].mean() < W / 2 else -26
        pose[0, :, 0] -= dx; pose[1, :, 0] += dx
    return dict(spr=spr, pose=pose, flip=flip, cam=camera(rng, cam), bg=int(rng.choice(rows)),
                bgflip=float(rng.choice([-1, 1])), gain=np.float32(rng.uniform(0.9, 1.08)),
                look=LOOK_NAMES.index(look), scene=bgs.NAMES.index(scene),
                text=caption(rng, cat, ids, scene, look))


def collate(items):
    out = {k: torch.as_tensor(np.stack([np.asarray(i[k]) for i in items])) for k in items[0] if k != "text"}
    out["text"] = [i["text"] for i in items]
    return out


# ---------------------------------------------------------------- compositing
class Renderer:
    def __init__(self, cat, bank, device, dtype=torch.float32):
        t = torch.from_numpy(cat.tex).permute(0, 3, 1, 2).float() / 255
        self.tex = t.to(device, dtype)
        self.bank = torch.from_numpy(bank).to(device)                     # uint8
        self.dev, self.dtype = device, dtype
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        self.x = (x.float() + 0.5 - W / 2).to(device)
        self.y = (y.float() + 0.5 - H / 2).to(device)

    @torch.no_grad()
    def compose(self, p, t0=0, t1=T, mask=False):
        """-> video [B, 3, t, H, W] in [-1, 1]; with mask also the visible cover [B, 2, t, H, W]."""
        dev, n = self.dev, t1 - t0
        B = p["bg"].shape[0]
        cam = p["cam"][:, t0:t1].to(dev, non_blocking=True)[..., None, None, :]        # B n 1 1 4
        bg = self.bank[p["bg"].to(dev)].to(self.dtype) / 255
        gx = (cam[..., 0] + self.x * cam[..., 2]) * (2 / bgs.CW) - 1
        gy = (cam[..., 1] + self.y * cam[..., 2]) * (2 / bgs.CH) - 1
        gx = gx * p["bgflip"].to(dev).float()[:, None, None, None]
        grid = torch.stack([gx, gy], -1).reshape(B, n * H, W, 2).to(self.dtype)
        out = F.grid_sample(bg, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        out = out.reshape(B, 3, n, H, W)
        cover = []
        S = self.tex.shape[-1]
        for k in range(2):
            idx = p["spr"][:, k].to(dev)
            on = (idx >= 0).to(self.dtype)[:, None, None, None, None]
            pose = p["pose"][:, k, t0:t1].to(dev, non_blocking=True)[..., None, None, :]
            dx, dy = self.x + W / 2 - pose[..., 0], self.y + H / 2 - pose[..., 1]
            c, s = torch.cos(pose[..., 3]), torch.sin(pose[..., 3])
            r = 2 / pose[..., 2].clamp_min(1)
            u = (dx * c + dy * s) * r * p["flip"][:, k].to(dev)[:, None, None, None]
            v = (-dx * s + dy * c) * r
            grid = torch.stack([u, v], -1).reshape(B, n * H, W, 2).to(self.dtype)
            sp = F.grid_sample(self.tex[idx.clamp_min(0)], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            sp = sp.reshape(B, 4, n, H, W) * on
            a = sp[:, 3:]
            out = out * (1 - a) + sp[:, :3]
            if mask:
                cover = [m * (1 - a[:, 0]) for m in cover] + [a[:, 0]]
        out = out * p["gain"].to(dev).to(self.dtype)[:, None, None, None, None]
        look = p["look"].to(dev)[:, None, None, None, None]
        g = (out * out.new_tensor([0.299, 0.587, 0.114])[None, :, None, None, None]).sum(1, keepdim=True)
        out = torch.where(look == 1, g, out)
        out = torch.where(look == 2, g * out.new_tensor([1.08, 0.88, 0.62])[None, :, None, None, None] + 0.03, out)
        out = torch.where(look == 3, out * 0.55 + 0.42, out)
        out = out.clamp(0, 1) * 2 - 1
        return (out, torch.stack(cover, 1)) if mask else out


# ---------------------------------------------------------------- pools of parameters
def _chunk(a):
    n, seed, cat, scene, tok = a
    rng = np.random.default_rng(seed)
    p = collate([draw(rng, cat, scene) for _ in range(n)])
    if tok is not None:
        ids, _ = tok(p["text"])
        p["ids"] = ids.short()
    return {k: (v.numpy() if torch.is_tensor(v) else v) for k, v in p.items()}


def pool(cat, bank_scene, n, seed, workers=1, tok=None, chunk=500):
    """n clips' parameters, made in worker processes; the seed fixes them."""
    jobs = [(min(chunk, n - i), [seed, i], cat, bank_scene, tok) for i in range(0, n, chunk)]
    if workers > 1:
        import multiprocessing as mp
        with mp.get_context("fork").Pool(workers) as w:
            parts = w.map(_chunk, jobs, chunksize=1)
    else:
        parts = [_chunk(j) for j in jobs]
    out = {k: torch.from_numpy(np.concatenate([q[k] for q in parts])) for k in parts[0] if k != "text"}
    out["text"] = sum((q["text"] for q in parts), [])
    return out


def take(p, i):
    """Rows i (a slice or an index list) of a pool."""
    out = {k: v[i] for k, v in p.items() if k != "text"}
    out["text"] = p["text"][i] if isinstance(i, slice) else [p["text"][j] for j in i]
    return out


def to(p, dev):
    return {k: (v.to(dev) if torch.is_tensor(v) else v) for k, v in p.items()}


if __name__ == "__main__":
    import sys, time
    from PIL import Image
    cat = Catalogue(sys.argv[1])
    bank, scene = bgs.bank(6)
    rng = np.random.default_rng(3)
    t = time.time()
    items = [draw(rng, cat, scene) for _ in range(12)]
    print("draw", (time.time() - t) / 12)
    t = time.time()
    v, m = Renderer(cat, bank, "cpu").compose(collate(items), mask=True)
    print(v.shape, "compose", (time.time() - t) / 12, v.min(), v.max())
    for i in items:
        print(i["text"])
    fr = v[:, :, ::4].permute(0, 3, 2, 4, 1).reshape(12 * H, -1, 3)
    Image.fromarray(((fr + 1) * 127.5).numpy().astype(np.uint8)).save(sys.argv[2])
