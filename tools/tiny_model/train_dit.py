# SPDX-License-Identifier: MIT
"""Trains the text encoder and the diffusion transformer together (rectified flow), by the clock.

Clips are rendered and encoded by the frozen VAE into a ring of latents on the GPU; a part of the
time goes on replacing old entries, so the data never ends.
    python3 train_dit.py --data DIR --vae DIR --out DIR --state DIR --seconds 500 --total 1000
"""
import argparse, json, math, os, time
import numpy as np
import torch
import torch.nn.functional as F
import backgrounds as bgs
import render as R
import wan_tiny as w
from common import *


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True); ap.add_argument("--vae", required=True)
    ap.add_argument("--out", required=True); ap.add_argument("--state", required=True)
    ap.add_argument("--resume", default=""); ap.add_argument("--seconds", type=float, default=500)
    ap.add_argument("--total", type=float, default=1000, help="seconds of training over all calls")
    ap.add_argument("--opt", default="muon"); ap.add_argument("--name", default="full")
    ap.add_argument("--batch", type=int, default=256); ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--muon-lr", type=float, default=0.012); ap.add_argument("--shift", type=float, default=3.0)
    ap.add_argument("--drop", type=float, default=0.1); ap.add_argument("--ring", type=int, default=160000)
    ap.add_argument("--fill", type=float, default=30, help="seconds of encoding before the first step")
    ap.add_argument("--refresh", type=float, default=0.25, help="part of the time spent on new clips")
    ap.add_argument("--per-scene", type=int, default=250); ap.add_argument("--clips", type=int, default=120000)
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--compile", type=int, default=1)
    ap.add_argument("--warm", default="", help="weights of an earlier run on other latents")
    ap.add_argument("--trials", type=int, default=1); ap.add_argument("--save-latents", type=int, default=0); ap.add_argument("--cpu-small", type=int, default=0)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True); os.makedirs(a.state, exist_ok=True)
    t_start = time.time()
    cat = R.Catalogue(a.data + "/sprites.npz")
    tok = w.Tokenizer(a.data + "/spiece.model")
    bank, scene = bgs.bank(a.per_scene, 1 + a.seed, WORKERS)
    pool = R.to(R.pool(cat, scene, a.clips, 1000 + a.seed, WORKERS, tok), DEV)
    print(f"data ready {time.time() - t_start:.1f}s", flush=True)
    rd = R.Renderer(cat, bank, DEV)
    torch.manual_seed(a.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    info = json.load(open(a.vae + "/vae.json"))
    vae = w.VAE(info["dim"])
    vae.load_state_dict(w.st_load(a.vae + "/vae.safetensors"))
    vae.to(DEV).eval().requires_grad_(False)
    vae.decoder = None
    mean, std = torch.tensor(info["mean"], device=DEV), torch.tensor(info["std"], device=DEV)
    EB = 32 if DEV == "cuda" else 1
    if DEV == "cuda":
        for m in vae.modules():
            if isinstance(m, w.CConv):
                m.weight.data = m.weight.data.contiguous(memory_format=torch.channels_last_3d)
            elif isinstance(m, torch.nn.Conv2d):
                m.weight.data = m.weight.data.contiguous(memory_format=torch.channels_last)
        comp = torch.compile(w.norm_silu_eager, dynamic=True)

    fz, fh, fw = (R.T - 1) // 4 + 1, R.H // 8, R.W // 8
    ring = torch.zeros(a.ring, 16, fz, fh, fw, dtype=torch.bfloat16, device=DEV)
    ring_ids = torch.zeros(a.ring, pool["ids"].shape[1], dtype=torch.int16, device=DEV)
    st = {"pos": 0, "n": 0, "clip": 0}

    @torch.no_grad()
    def encode_more():
        i = st["clip"]
        if i + EB > a.clips:
            i = 0
        st["clip"] = i + EB
        x = rd.compose(R.take(pool, slice(i, i + EB)))
        with autocast():
            if DEV == "cuda":
                x = x.contiguous(memory_format=torch.channels_last_3d)
            z = vae.encode(x, mean, std)
        j = st["pos"]
        if j + EB > a.ring:
            j = 0
        ring[j:j + EB] = z.to(torch.bfloat16)
        ring_ids[j:j + EB] = pool["ids"][i:i + EB]
        st["pos"], st["n"] = j + EB, max(st["n"], j + EB)

    try:
        import torch._dynamo as dyn
        dyn.config.recompile_limit = 256
    except Exception:
        pass
    if DEV == "cuda" and not a.trials:
        w.CONV, w.norm_silu = "3d", comp
        encode_more(); sync(); st.update(pos=0, n=0)
        print(f"encoder ready {time.time() - t_start:.1f}s", flush=True)
    if DEV == "cuda" and a.trials:                             # fastest way to encode
        rate = {}
        for mode in ("3d", "cat2d"):
            for cp in (False, True):
                w.CONV, w.norm_silu = mode, comp if cp else w.norm_silu_eager
                try:
                    encode_more(); encode_more(); sync(); t = time.time()
                    for _ in range(3):
                        encode_more()
                    sync(); rate[(mode, cp)] = 3 * EB / (time.time() - t)
                except Exception as e:
                    print("encode trial failed", mode, cp, repr(e)[:200])
        mode, cp = max(rate, key=rate.get)
        w.CONV, w.norm_silu = mode, comp if cp else w.norm_silu_eager
        print("encode clips/s", {str(k): round(v) for k, v in rate.items()}, f"{time.time() - t_start:.1f}s", flush=True)
        st.update(pos=0, n=0)
    lat = a.state + "/latents.pt"
    if os.path.exists(lat):
        d = torch.load(lat)
        n = min(len(d["z"]), a.ring)
        ring[:n] = d["z"][:n].to(DEV); ring_ids[:n] = d["ids"][:n].to(DEV)
        st.update(pos=n % a.ring, n=n)
        st["clip"] = int(d.get("clip", 0))
        print(f"reused {n} latents {time.time() - t_start:.1f}s", flush=True)
        del d
    t = time.time()
    while time.time() - t < a.fill or st["n"] < (64 if DEV == "cuda" else 4):
        encode_more()
        if st["n"] % 128 == 0:
            sync()
        if st["n"] >= 4 and DEV == "cpu":
            break
    sync()
    te = max(1e-4, (time.time() - t)) / max(1, st["clip"] / EB) if a.fill > 0 else None
    print(f"ring {st['n']} clips, {time.time() - t_start:.1f}s", flush=True)

    text = w.T5(len(tok)).to(DEV)
    dit = w.DiT(**(dict(dim=64, num_heads=1, num_layers=2, ffn_dim=64) if a.cpu_small else {})).to(DEV)
    mats = [p for n, p in dit.blocks.named_parameters() if p.dim() == 2] if a.opt == "muon" else []
    ids_m = {id(p) for p in mats}
    rest = [p for p in list(dit.parameters()) + list(text.parameters()) if id(p) not in ids_m]
    decay = [p for p in rest if p.dim() > 1]
    plain = [p for p in rest if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                            lr=a.lr, betas=(0.9, 0.98), **({"fused": True} if DEV == "cuda" else {}))
    muon = Muon(mats, a.muon_lr) if mats else None
    done, nstep = 0.0, 0
    ema = EMA([dit, text], 0.9995)
    full = f"{a.state}/{a.name}.pt"
    if os.path.exists(full):
        d = torch.load(full, map_location=DEV)
        if d["opt_name"] == a.opt:
            dit.load_state_dict(d["dit"]); text.load_state_dict(d["text"]); opt.load_state_dict(d["opt"])
            if muon:
                for k in muon.buf:
                    muon.buf[k].copy_(d["muon"][k])
            for x, y in zip(ema.avg, d["ema"]):
                x.copy_(y)
            ema.n, done, nstep = d["ema_n"], d["done"], d["step"]
            print(f"resumed in full: step {nstep}, {done:.0f}s done", flush=True)
    elif a.resume:                                             # weights only (made by an earlier call)
        dit.load_state_dict(w.st_load(a.resume + "/ema_dit.safetensors")); text.load_state_dict(w.st_load(a.resume + "/ema_text.safetensors"))
        for x, p in zip(ema.avg, ema.src):
            x.copy_(p.detach())
        info2 = json.load(open(a.resume + "/state.json"))
        done, nstep = info2["done"], info2["step"]
        print(f"resumed from weights: step {nstep}, {done:.0f}s done", flush=True)
    elif a.warm:
        dit.load_state_dict(w.st_load(a.warm + "/ema_dit.safetensors"))
        d = w.st_load(a.warm + "/ema_text.safetensors")
        if d["token_embedding.weight"].shape == text.token_embedding.weight.shape:
            text.load_state_dict(d)
        with torch.no_grad():
            torch.nn.init.xavier_uniform_(dit.patch_embedding.weight.flatten(1))
            dit.patch_embedding.bias.zero_(); dit.head.head.weight.zero_(); dit.head.head.bias.zero_()
        for x, p in zip(ema.avg, ema.src):
            x.copy_(p.detach())
        print("warm start from", a.warm, flush=True)
    if a.compile and DEV == "cuda":
        try:
            for b in dit.blocks:
                b.compile()
        except Exception as e:
            print("no compile", e)
    gen = torch.Generator(device=DEV).manual_seed(1234 + nstep)
    B = a.batch if DEV == "cuda" else 2

    def step(scale):
        i = torch.randint(0, st["n"], (B,), device=DEV, generator=gen)
        z = ring[i].float()
        ids = ring_ids[i].long()
        drop = torch.rand(B, device=DEV, generator=gen) < a.drop
        ids = torch.where(drop[:, None], empty, ids)
        u = (torch.arange(B, device=DEV) + torch.rand(B, device=DEV, generator=gen)) / B
        s = a.shift * u / (1 + (a.shift - 1) * u)
        e = torch.randn(z.shape, device=DEV, generator=gen)
        sv = s.view(-1, 1, 1, 1, 1)
        x = (1 - sv) * z + sv * e
        with autocast():
            ctx = text(ids, ids.ne(0))
            v = dit(x, s * 1000, ctx)
        err = (v - (e - z)).pow(2).flatten(1).mean(1)
        opt.zero_grad(set_to_none=True)
        if muon:
            for p in mats:
                p.grad = None
        err.mean().backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for g in opt.param_groups:
            g["lr"] = a.lr * scale
        opt.step()
        if muon:
            muon.step(scale)
        ema.update()
        return err.detach(), s

    empty = torch.zeros(1, ring_ids.shape[1], dtype=torch.long, device=DEV)
    empty[0, 0] = 1
    t0 = last = time.time()
    acc, k, every = [], 0, 1
    warm = nstep
    reheat = 60
    log = []
    t_c = time.time()
    step(1e-4); sync()
    print(f"first step {time.time() - t_c:.1f}s", flush=True)
    t1 = time.time()
    for _ in range(10 if DEV == "cuda" else 1):
        step(1e-3)
    sync(); ts = (time.time() - t1) / (10 if DEV == "cuda" else 1)
    t1 = time.time(); encode_more(); encode_more(); sync(); te = (time.time() - t1) / 2
    every = max(1, math.ceil(te * (1 - a.refresh) / (a.refresh * ts)))
    print(f"step {ts * 1e3:.1f} ms, {EB} clips encoded in {te * 1e3:.1f} ms, every {every} steps", flush=True)
    t_end = t_start + a.seconds
    t0 = time.time()
    while time.time() < t_end:
        p = min(1.0, (done + time.time() - t0) / a.total)
        k += 1
        ramp = min(1, (nstep + 1) / 300, k / reheat if warm else 1)
        scale = ramp * (1 - p * p) if p < 0.999 else ramp * 0.002                # slow start of the fall, to zero
        scale = max(scale, 0.005)
        err, s = step(scale)
        nstep += 1
        acc.append((err, s))
        if k % every == 0:
            encode_more()
        if k % 20 == 0:
            sync()
        if time.time() - last > 15 or time.time() >= t_end:
            E, S = torch.cat([q[0] for q in acc]), torch.cat([q[1] for q in acc])
            b = [E[(S >= lo) & (S < hi)].mean().item() for lo, hi in ((0, .4), (.4, .7), (.7, .9), (.9, 1.01))]
            m = E.mean().item()
            log.append((nstep, done + time.time() - t0, m))
            print(f"{done + time.time() - t0:6.0f}s step {nstep} loss {m:.4f} by noise {' '.join(f'{q:.3f}' for q in b)} lr x{scale:.3f} ring {st['n']}", flush=True)
            last = time.time(); acc = []
    done += time.time() - t0
    sync()
    t = time.time()
    state = {"done": done, "step": nstep, "ema_n": ema.n, "opt": a.opt}
    torch.save({"dit": dit.state_dict(), "text": text.state_dict(), "opt": opt.state_dict(), "opt_name": a.opt,
                "muon": muon.buf if muon else None, "ema": ema.avg, "ema_n": ema.n, "done": done, "step": nstep}, full)
    w.st_save(a.out + "/raw_dit.safetensors", dit.state_dict(), "F16"); w.st_save(a.out + "/raw_text.safetensors", text.state_dict(), "F16")
    ema.swap()
    w.st_save(a.out + "/ema_dit.safetensors", dit.state_dict(), "F16"); w.st_save(a.out + "/ema_text.safetensors", text.state_dict(), "F16")
    json.dump({**state, "log": log, "batch": B}, open(a.out + "/state.json", "w"))
    if a.save_latents and st["n"]:
        torch.save({"z": ring[:st["n"]].cpu(), "ids": ring_ids[:st["n"]].cpu(), "clip": st["clip"]}, lat)
    print(f"saved {time.time() - t:.1f}s; step {nstep}, trained {done:.0f}s, RESULT {a.opt} {log[-1][2] if log else None}", flush=True)


if __name__ == "__main__":
    main()
