# SPDX-License-Identifier: MIT
"""Motion transfer on the tiny model as FastVMT does it on Wan2.1: in the first steps the latent is
moved so that the attention motion flow of one block follows that of the noised reference."""
import math
import numpy as np
import torch
import torch.nn.functional as F
import infer
from common import *


def head_mean(q, grid, as_code=False):
    """q [B, S, n, d] -> [B, f, h*w, d].  as_code: what the published code's reshape gives (groups of n
    neighbouring tokens averaged, heads then read as places)."""
    B, S, n, d = q.shape
    f, h, w = grid
    if as_code:
        q = q.reshape(B, S, n * d).reshape(B, S // n, n, n * d).mean(2)
        return q.reshape(B, f, h * w, d)
    return q.mean(2).reshape(B, f, h * w, d)


def pairs(f, sf):
    i, j, wt = [], [], []
    lin = np.linspace(1, 0.8, sf)
    for a in range(f):
        for b in range(a, min(f, a + sf)):
            i.append(a); j.append(b); wt.append(lin[b - a])
    return i, j, wt


def amf_full(Q, K, grid, sf, tau):
    f, h, w = grid
    i, j, _ = pairs(f, sf)
    y = torch.arange(h * w, device=Q.device) // w
    x = torch.arange(h * w, device=Q.device) % w
    pos = torch.stack([y, x], -1).float()
    A = torch.softmax(Q[:, i].float() @ K[:, j].float().transpose(-1, -2) / math.sqrt(Q.shape[-1]) * tau, -1)
    return A @ pos - pos, None


def amf_tile(Q, K, grid, sf, tau, tile, l, sparse=True):
    """The published tiled form: coarse match of each tile's centre, then a window of l x l around it."""
    f, h, w = grid
    th, tw = tile
    nh, nw = h // th, w // tw
    B, _, S, D = Q.shape
    dev = Q.device
    u, v = torch.arange(S, device=dev) // w, torch.arange(S, device=dev) % w
    rows = torch.arange(nh, device=dev) * th + th // 2
    cols = torch.arange(nw, device=dev) * tw + tw // 2
    centre = (rows[:, None] * w + cols[None]).flatten()
    hl = l // 2
    off = torch.arange(-hl, hl + 1, device=dev)
    keep = (torch.arange(l * l, device=dev) % 2 == 0).float() if sparse else torch.ones(l * l, device=dev)
    pu, pv = (torch.arange(l * l, device=dev) // l) * keep, (torch.arange(l * l, device=dev) % l) * keep
    ou = (torch.arange(th * tw, device=dev) // tw).repeat(nh * nw); ov = (torch.arange(th * tw, device=dev) % tw).repeat(nh * nw)
    sc = tau / math.sqrt(D)
    out, track = [], []
    for i in range(f):
        wins = []
        for j in range(i, min(f, i + sf)):
            if i == j:
                A = torch.softmax(Q[:, i] @ K[:, j].transpose(-1, -2) * sc, -1)
                out.append(torch.stack([(A * u).sum(-1) - u, (A * v).sum(-1) - v], -1))
                continue
            A = torch.softmax(Q[:, i, centre] @ K[:, j].transpose(-1, -2) * sc, -1)
            cy, cx = (A * u).sum(-1), (A * v).sum(-1)
            wy = (cy[..., None, None] + off[:, None]).expand(B, nh * nw, l, l).clamp(hl, h - hl - 1).long()
            wx = (cx[..., None, None] + off[None]).expand(B, nh * nw, l, l).clamp(hl, w - hl - 1).long()
            idx = (wy * w + wx).reshape(B, -1)
            Kg = torch.gather(K[:, j], 1, idx[..., None].expand(-1, -1, D)).reshape(B, nh * nw, l * l, D)
            wins.append(Kg.mean(-1))
            Qt = Q[:, i].reshape(B, nh, th, nw, tw, D).permute(0, 1, 3, 2, 4, 5).reshape(B, nh * nw, th * tw, D)
            A = torch.softmax(Qt @ Kg.transpose(-1, -2) * sc, -1).reshape(B, S, l * l)
            out.append(torch.stack([(A * pu).sum(-1) - ou, (A * pv).sum(-1) - ov], -1))
        if len(wins) > 1:
            t = torch.stack(wins, 1)
            track.append((t[:, 1:] - t[:, :-1]).norm(dim=-1).mean((1, 2)))
    return torch.stack(out, 1), torch.stack(track).mean(0)


DEFAULT = dict(steps=25, cfg=5.0, shift=5.0, strength=0.9, start="ref", block=4, guided=8, inner=10, interval=3,
               lr0=0.02, lr1=0.013, tau=1.0, sf=4, mode="full", tile=(3, 5), window=5, as_code=False, w_amf=5.0, w_track=1.0)


def transfer(M, ref, prompts, seed=0, **kw):
    """ref: latents of the reference clips [B, 16, f, h, w].  guided = 0: no guidance."""
    c = dict(DEFAULT); c.update(kw)
    B = len(ref)
    ctx, nul = M.context(prompts), M.context([""] * B)
    nz = infer.noise(B, seed, M.dev)
    s = infer.sigmas(c["steps"], c["shift"], c["strength"] if c["start"] == "ref" else 1.0)
    x = (1 - s[0]) * ref + s[0] * nz if c["start"] == "ref" else nz
    grid = (ref.shape[2], ref.shape[3] // 2, ref.shape[4] // 2)
    wt = torch.tensor(pairs(grid[0], c["sf"])[2], device=M.dev, dtype=torch.float32)

    def flow(lat, sigma, cx):
        t = torch.full((B,), sigma * 1000.0, device=M.dev)
        with autocast():
            q, k = M.dit(lat, t, cx, qk=c["block"])
        Q, K = head_mean(q.float(), grid, c["as_code"]), head_mean(k.float(), grid, c["as_code"])
        if c["mode"] == "full":
            return amf_full(Q, K, grid, c["sf"], c["tau"])
        return amf_tile(Q, K, grid, c["sf"], c["tau"], c["tile"], c["window"], c.get("sparse", True))

    for i in range(c["steps"]):
        if i < c["guided"]:
            with torch.no_grad():
                target, _ = flow((1 - s[i]) * ref + s[i] * nz, s[i], nul)
            p = x.detach().clone().requires_grad_(True)
            opt = torch.optim.AdamW([p], lr=c["lr0"])
            for j in range(c["inner"]):
                for g in opt.param_groups:
                    g["lr"] = c["lr0"] - (c["lr0"] - c["lr1"]) * j / c["inner"]
                if j % c["interval"] == 0:
                    p.grad = None
                    f, track = flow(p, s[i], ctx)
                    loss = c["w_amf"] * ((f - target).pow(2).sum((2, 3)) * wt).mean(1)
                    if track is not None:
                        loss = loss + c["w_track"] * track
                    loss.sum().backward()
                opt.step()
            x = p.detach()
        x = x + (s[i + 1] - s[i]) * M.velocity(x, s[i], ctx, nul, c["cfg"])
    return x
