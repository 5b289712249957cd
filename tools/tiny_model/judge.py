# SPDX-License-Identifier: MIT
"""A small frame network that finds the objects (mask) and names object, colour and scene; trained on
rendered clips sent through the VAE.  Only used to measure samples."""
import time
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import backgrounds as bgs
import render as R
from common import *


def cbr(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True))


class Judge(nn.Module):
    def __init__(self, nouns, colours, scenes=12):
        super().__init__()
        self.a = nn.Sequential(cbr(3, 32, 2), cbr(32, 64, 2), cbr(64, 64))             # /4
        self.b = nn.Sequential(cbr(64, 128, 2), cbr(128, 128))                          # /8
        self.c = nn.Sequential(cbr(128, 256, 2), cbr(256, 256))                         # /16
        self.up = cbr(256, 128); self.up2 = cbr(256, 64)
        self.mask = nn.Sequential(cbr(128, 64), nn.Conv2d(64, 1, 1))
        self.obj = nn.Sequential(cbr(192, 192), cbr(192, 192, 2), cbr(192, 256))
        self.noun, self.colour = nn.Linear(256, nouns), nn.Linear(256, colours)
        self.scene = nn.Linear(256, scenes)

    def forward(self, x):
        a = self.a(x); b = self.b(a); c = self.c(b)
        u = torch.cat([self.up(F.interpolate(c, scale_factor=2.0)), b], 1)
        u = torch.cat([self.up2(F.interpolate(u, scale_factor=2.0)), a], 1)
        m = self.mask(u)
        p = torch.sigmoid(m.detach())
        o = self.obj(torch.cat([u * p, a], 1))
        w = F.avg_pool2d(p, 2) + 1e-3
        o = (o * w).sum((2, 3)) / w.sum((2, 3))
        return m[:, 0], self.noun(o), self.colour(o), self.scene(c.mean((2, 3)))


def train(M, cat, seconds, per_scene=60, clips=12000, seed=4242):
    t0 = time.time()
    cols = sorted({c for c in cat.colours if c})
    bank, scene = bgs.bank(per_scene, 31, WORKERS)
    pool = R.to(R.pool(cat, scene, clips, seed, WORKERS), DEV)
    rd = R.Renderer(cat, bank, DEV)
    noun = torch.as_tensor(cat.noun, device=DEV)
    col = torch.tensor([cols.index(c) if c else -1 for c in cat.colours], device=DEV)
    J = Judge(len(cat.nouns), len(cols)).to(DEV)
    J.cols = cols
    opt = torch.optim.AdamW(J.parameters(), lr=2e-3, weight_decay=1e-3)
    n, N = 0, 24 if DEV == "cuda" else 2
    rng = np.random.default_rng(1)

    def targets(p, k):
        tn = torch.zeros(len(p["bg"]), len(cat.nouns), device=DEV); tc = torch.zeros(len(p["bg"]), len(cols), device=DEV)
        for s in range(2):
            i = p["spr"][:, s]
            on = i >= 0
            r = torch.arange(len(i), device=DEV)[on]
            tn[r, noun[i[on]]] = 1
            c = col[i[on]]
            tc[r[c >= 0], c[c >= 0]] = 1
        return tn.repeat_interleave(k, 0), tc.repeat_interleave(k, 0)

    while time.time() - t0 < seconds:
        pr = (time.time() - t0) / seconds
        i = n * N % (clips - N)
        p = R.take(pool, slice(i, i + N))
        with torch.no_grad():
            x, c = rd.compose(p, mask=True)
            z = M.encode(x)
            z = z + torch.randn_like(z) * rng.uniform(0, 0.35)
            y = M.decode(z)
            f = torch.randperm(R.T, device=DEV)[:12]
            y = y[:, :, f].transpose(1, 2).reshape(-1, 3, R.H, R.W)
            c = F.avg_pool2d(c.amax(1)[:, f].reshape(-1, 1, R.H, R.W), 4)[:, 0]
            tn, tc = targets(p, 12)
            ts = p["scene"].repeat_interleave(12)
        m, a, b, s = J(y)
        L = 2 * F.binary_cross_entropy_with_logits(m, c) + 10 * F.binary_cross_entropy_with_logits(a, tn) + \
            3 * F.binary_cross_entropy_with_logits(b, tc) + 0.5 * F.cross_entropy(s, ts)
        for g in opt.param_groups:
            g["lr"] = 2e-3 * min(1, (n + 1) / 50) * max(0.02, 1 - pr)
        opt.zero_grad(); L.backward(); opt.step()
        n += 1
        if n % 10 == 0:
            sync()
    J.eval()
    # how good it is itself, on scenes it has not seen
    vb, vs = bgs.bank(6, 88, WORKERS)
    vp = R.to(R.pool(cat, vs, 96, 17, 1), DEV)
    vr = R.Renderer(cat, vb, DEV)
    hit_n = hit_s = tot = 0
    err = []
    for i in range(0, 96, 16):
        p = R.take(vp, slice(i, i + 16))
        x, c = vr.compose(p, mask=True)
        r = look(J, M.decode(M.encode(x)))
        one = p["spr"][:, 1] < 0
        hit_n += (r["noun"].argmax(1) == noun[p["spr"][:, 0]])[one].sum().item(); hit_s += (r["scene"].argmax(1) == p["scene"]).sum().item()
        tot += one.sum().item()
        d = (r["path"] - p["pose"][:, 0, :, :2]).norm(dim=-1)
        err.append(d[one][torch.isfinite(d[one])])
    print(f"judge: {n} steps in {time.time() - t0:.0f}s; on unseen rendered clips: object {hit_n / tot:.3f}, scene {hit_s / 96:.3f}, centroid error median {torch.cat(err).median():.2f} px", flush=True)
    return J


@torch.no_grad()
def look(J, v):
    """v [B, 3, T, H, W] -> averaged probabilities and the centroid path [B, T, 2] in pixels (nan: nothing seen)."""
    B, _, T, H, W = v.shape
    out = [J(q) for q in v.transpose(1, 2).reshape(-1, 3, H, W).split(528)]
    m, a, b, s = (torch.cat(x) for x in zip(*out))
    p = torch.sigmoid(m.float())
    p = torch.where(p > 0.5, p, torch.zeros_like(p))
    y, x = torch.meshgrid(torch.arange(p.shape[1], device=v.device), torch.arange(p.shape[2], device=v.device), indexing="ij")
    area = p.sum((1, 2))
    cx, cy = (p * (x * 4 + 2)).sum((1, 2)) / area, (p * (y * 4 + 2)).sum((1, 2)) / area
    path = torch.stack([cx, cy], -1)
    path[area < 6] = float("nan")
    f = lambda q: q.float().reshape(B, T, -1)
    return {"noun": torch.sigmoid(f(a)).mean(1), "colour": torch.sigmoid(f(b)).mean(1), "scene": f(s).softmax(-1).mean(1),
            "path": path.reshape(B, T, 2), "area": area.reshape(B, T)}
