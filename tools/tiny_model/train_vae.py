# SPDX-License-Identifier: MIT
"""Trains the causal video VAE on endless rendered clips, by the clock.
    python3 train_vae.py --data DIR --out DIR --seconds 420
"""
import argparse, json, math, os, time
import numpy as np
import torch
import torch.nn.functional as F
import backgrounds as bgs
import render as R
import wan_tiny as w
from common import *


@torch.no_grad()
def start(vae):
    """Weights that treat the first frame like all others: the newest tap carries the picture, time
    convolutions pass it on, residual branches begin small."""
    for m in vae.modules():
        if isinstance(m, w.CConv) and m.k[0] == 3:
            if m.k[1] == 3:
                o, i = m.weight.shape[:2]
                m.weight[:, :, 2].normal_(0, (1.0 / (9 * i)) ** 0.5)
                m.weight[:, :, :2].normal_(0, 0.15 * (1.0 / (9 * i)) ** 0.5)
                m.bias.zero_()
            else:
                o, i = m.weight.shape[:2]
                m.weight.normal_(0, 0.02)
                m.weight[:, :, 2, 0, 0] += torch.eye(i, device=m.weight.device).repeat(o // i, 1)
                m.bias.zero_()
        elif isinstance(m, w.CConv) and m.k[0] == 1:
            m.weight.normal_(0, (1.0 / m.weight.shape[1]) ** 0.5)
            m.bias.zero_()
    for m in vae.modules():
        if isinstance(m, w.Res):
            m.residual[6].weight.mul_(0.1)
    vae.encoder.head[2].weight[16:].mul_(0.1)


def grads(d, s):
    if s > 1:
        d = F.avg_pool3d(d, (1, s, s))
    return (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


def loss_fn(vae, x, cover, kl_w):
    m, lv = vae.moments(x)
    m, lv = m.float(), lv.float().clamp(-20, 10)
    z = m + torch.exp(0.5 * lv) * torch.randn_like(m)
    y = vae.decode(z).float()
    d = y - x.float()
    wt = 1 + 2.0 * cover
    rec = (d.abs() * wt).mean() + 4.0 * (d * d * wt).mean()
    g = 0.2 * sum(grads(d, s) for s in (1, 2))
    dt = (d[:, :, 1:] - d[:, :, :-1]).abs().mean() if d.shape[2] > 1 else 0
    kl = 0.5 * (m * m + lv.exp() - 1 - lv).mean()
    return rec + g + 0.25 * dt + kl_w * kl, (d / 2).pow(2).mean().detach(), kl.detach()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True); ap.add_argument("--out", required=True)
    ap.add_argument("--seconds", type=float, default=420); ap.add_argument("--per-scene", type=int, default=150)
    ap.add_argument("--batch", type=int, default=8); ap.add_argument("--frames", type=int, default=17)
    ap.add_argument("--clips", type=int, default=60000); ap.add_argument("--dim", type=int, default=16)
    ap.add_argument("--lr", type=float, default=1e-3); ap.add_argument("--kl", type=float, default=2e-4)
    ap.add_argument("--muon-lr", type=float, default=0.02); ap.add_argument("--opt", default="muon")
    ap.add_argument("--crop-part", type=float, default=0.4); ap.add_argument("--init", type=int, default=1)
    ap.add_argument("--crop", type=int, default=96); ap.add_argument("--trials", type=int, default=1)
    ap.add_argument("--full-part", type=float, default=0.18)
    ap.add_argument("--eval", type=int, default=64)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    t_start = time.time()
    cat = R.Catalogue(a.data + "/sprites.npz")
    bank, scene = bgs.bank(a.per_scene, 1, WORKERS)
    vbank, vscene = bgs.bank(8, 77, WORKERS)
    pool = R.to(R.pool(cat, scene, a.clips, 5, WORKERS), DEV)
    print(f"data ready {time.time() - t_start:.1f}s, {len(bank)} scenes, {a.clips} clips", flush=True)
    rd, vrd = R.Renderer(cat, bank, DEV), R.Renderer(cat, vbank, DEV)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    vae = w.VAE(a.dim).to(DEV)
    if a.init:
        start(vae)

    def optimizers():
        ends = {id(vae.encoder.conv1.weight), id(vae.decoder.head[2].weight)}
        mats = [p for p in vae.parameters() if p.dim() >= 4 and p.shape[0] > 1 and p[0].numel() > 1 and id(p) not in ends] if a.opt == "muon" else []
        ids = {id(p) for p in mats}
        o = torch.optim.AdamW([p for p in vae.parameters() if id(p) not in ids], lr=a.lr, betas=(0.9, 0.98), weight_decay=1e-4,
                              **({"fused": True} if DEV == "cuda" else {}))
        return o, (Muon(mats, a.muon_lr, wd=0.0) if mats else None)

    opt, muon = optimizers()
    rng = np.random.default_rng(0)
    pos = [0]

    def batch(n, frames, crop=0):
        i = pos[0]
        if i + n > a.clips:
            i = 0
        pos[0] = i + n
        t0 = int(rng.integers(0, R.T - frames + 1))
        x, c = rd.compose(R.take(pool, slice(i, i + n)), t0, t0 + frames, mask=True)
        c = c.amax(1).unsqueeze(1)
        if crop:
            px = int(rng.integers(0, R.W - crop + 1)); py = int(rng.integers(0, R.H - crop + 1))
            x, c = x[..., py:py + crop, px:px + crop], c[..., py:py + crop, px:px + crop]
        return x, c

    def step(x, c, scale=1.0):
        nonlocal opt, muon
        for p in vae.parameters():
            p.grad = None
        with autocast():
            L, mse, kl = loss_fn(vae, x, c, a.kl)
        L.backward()
        torch.nn.utils.clip_grad_norm_(opt.param_groups[0]["params"], 1.0)
        opt.step()
        if muon:
            muon.step(scale)
        return L.detach(), mse, kl

    # which way of running the convolutions is fastest here?
    best = ("3d", False, False)
    if DEV == "cuda":
        state = {k: v.clone() for k, v in vae.state_dict().items()}
        comp = torch.compile(w.norm_silu_eager, dynamic=True)
        import torch._dynamo as dyn
        dyn.config.recompile_limit = 256
        res = {}

        def trial(mode, cl, cp, n=5):
            w.CONV = mode
            w.norm_silu = comp if cp else w.norm_silu_eager
            vae.to(memory_format=torch.contiguous_format)
            x, c = batch(a.batch, a.frames)
            if cl:
                x = x.contiguous(memory_format=torch.channels_last_3d)
                for m in vae.modules():
                    if isinstance(m, w.CConv):
                        m.weight.data = m.weight.data.contiguous(memory_format=torch.channels_last_3d)
                    elif isinstance(m, torch.nn.Conv2d):
                        m.weight.data = m.weight.data.contiguous(memory_format=torch.channels_last)
            else:
                for m in vae.modules():
                    if isinstance(m, (w.CConv, torch.nn.Conv2d)):
                        m.weight.data = m.weight.data.contiguous()
            for _ in range(3):
                step(x, c)
            sync(); t = time.time()
            for _ in range(n):
                step(x, c)
            sync()
            res[(mode, cl, cp)] = (time.time() - t) / n
            print("trial", mode, "channels_last" if cl else "planar", "compiled" if cp else "eager",
                  f"{res[(mode, cl, cp)] * 1e3:.1f} ms", flush=True)

        for v in (("3d", True, False), ("cat2d", True, False), ("3d", False, False)) if a.trials else ():
            try:
                trial(*v)
            except Exception as e:
                print("trial failed", v, repr(e)[:200], flush=True)
        m, cl, _ = min(res, key=res.get) if res else ("3d", True, True)
        try:
            trial(m, cl, True, 2)
        except Exception as e:
            print("compile failed", repr(e)[:300], flush=True)
        best = min(res, key=res.get)
        print("chosen", best, f"{time.time() - t_start:.1f}s", flush=True)
        w.CONV, w.norm_silu = best[0], comp if best[2] else w.norm_silu_eager
        with torch.no_grad():
            for k, v in vae.state_dict().items():
                v.copy_(state[k])
        for m in vae.modules():
            if isinstance(m, (w.CConv, torch.nn.Conv2d)):
                f = torch.channels_last_3d if isinstance(m, w.CConv) else torch.channels_last
                m.weight.data = m.weight.data.contiguous(memory_format=f if best[1] else torch.contiguous_format)
        opt, muon = optimizers()
    ema = EMA([vae], 0.998)
    t0, n, last = time.time(), 0, time.time()
    acc, slow, calm = [], None, 1.0
    left = a.seconds - (t0 - t_start)
    while True:
        p = (time.time() - t0) / left
        if p >= 1:
            break
        scale = calm * min(1, (n + 1) / 100) * max(0.01, 1 - p) ** 0.8
        lr = a.lr * scale
        for g in opt.param_groups:
            g["lr"] = lr
        full = p > 1 - a.full_part
        if p < a.crop_part:
            x, c = batch(a.batch * 3 // 2 if DEV == 'cuda' else a.batch, 9 if a.frames > 9 else a.frames, a.crop)
        else:
            x, c = batch(max(1, a.batch // 2) if full else a.batch, R.T if full else a.frames)
        if best[1]:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        L, mse, kl = step(x, c, scale)
        ema.update()
        acc.append(torch.stack([L, mse, kl]))
        n += 1
        if n % 20 == 0:                                       # also keeps the clock honest
            l = L.item()
            if not math.isfinite(l) or (n > 200 and l > 4 * slow):
                print(f"step {n}: loss {l}, back to the average, rate halved", flush=True)
                calm *= 0.5
                opt, muon = optimizers()
                with torch.no_grad():
                    for x_, p_ in zip(ema.avg, ema.src):
                        p_.copy_(x_)
            else:
                slow = l if slow is None else 0.9 * slow + 0.1 * l
        if time.time() - last > 15:
            v = torch.stack(acc[-100:]).mean(0).tolist()
            print(f"{time.time() - t0:6.0f}s step {n} loss {v[0]:.4f} psnr {-10 * math.log10(v[1]):.2f} kl {v[2]:.3f} lr {lr:.2e}", flush=True)
            last = time.time(); acc = acc[-100:]
    print("steps", n, f"{time.time() - t0:.0f}s", flush=True)
    ema.swap()
    finish(a, cat, vae, vrd, vscene, rd, pool)


@torch.no_grad()
def finish(a, cat, vae, vrd, vscene, rd, pool):
    w.st_save(a.out + "/vae.safetensors", vae.state_dict(), "F16", {"format": "pt", "model": "FastVMT tiny Wan VAE"})
    vae.load_state_dict(w.st_load(a.out + "/vae.safetensors"))
    vae.to(DEV).eval()
    ms = []
    for i in range(0, min(a.clips, 8 * a.eval), 8):
        with autocast():
            ms.append(vae.encode(rd.compose(R.take(pool, slice(i, i + 8)))).float())
    z = torch.cat(ms)
    mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))
    test = R.to(R.pool(cat, vscene, a.eval, 991, 1), DEV)
    ps, fg, xs, ys = [], [], [], []
    for i in range(0, a.eval, 4):
        x, c = vrd.compose(R.take(test, slice(i, i + 4)), mask=True)
        y = vae.decode(vae.encode(x, mean, std), mean, std).float()           # float32
        ps += psnr(x, y).tolist()
        m = c.amax(1, keepdim=True).squeeze(1).unsqueeze(1) if c.dim() == 5 else c
        m = c.amax(1).unsqueeze(1)
        e = (((x - y.clamp(-1, 1)) / 2).pow(2) * m).sum((1, 2, 3, 4)) / (3 * m.sum((1, 2, 3, 4)).clamp_min(1))
        fg += (-10 * torch.log10(e)).tolist()
        if i < 12:
            xs += [q for pair in zip(x.cpu(), y.cpu()) for q in pair]
    print(f"held-out PSNR mean {np.mean(ps):.2f} min {np.min(ps):.2f} p10 {np.percentile(ps, 10):.2f}; on the objects {np.mean(fg):.2f}", flush=True)
    sheet(a.out + "/recon.png", xs, every=4)
    json.dump({"mean": mean.tolist(), "std": std.tolist(), "psnr": float(np.mean(ps)), "psnr_min": float(np.min(ps)),
               "psnr_objects": float(np.mean(fg)), "dim": a.dim}, open(a.out + "/vae.json", "w"))
    print("latent std", [round(v, 2) for v in std.tolist()], "mean", [round(v, 2) for v in mean.tolist()])


if __name__ == "__main__":
    main()
