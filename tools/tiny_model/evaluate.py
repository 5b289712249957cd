# SPDX-License-Identifier: MIT
"""Samples, prompt fidelity and motion transfer figures of a trained set."""
import argparse, itertools, json, time
import numpy as np
import torch
import backgrounds as bgs
import guide, infer, judge
import render as R
from common import *

ap = argparse.ArgumentParser()
ap.add_argument("--data", required=True); ap.add_argument("--vae", required=True); ap.add_argument("--dit", required=True)
ap.add_argument("--out", required=True); ap.add_argument("--refs", required=True); ap.add_argument("--seconds", type=float, default=150)
ap.add_argument("--judge", type=float, default=35); ap.add_argument("--tiny", type=int, default=0)
a = ap.parse_args()
T0 = time.time()
res = {}


def save():
    json.dump(res, open(a.out + "/eval.json", "w"), indent=1)


cat = R.Catalogue(a.data + "/sprites.npz")
M = infer.Model(a.data, a.vae, a.dit, "ema_")
with torch.no_grad():                                          # as shipped: DiT and text in bf16
    for m in (M.text, M.dit):
        for p in m.parameters():
            p.copy_(p.bfloat16().float())
z = infer.sample(M, infer.PROMPTS, 0, 25, 5.0, 5.0)
sheet(a.out + "/samples.png", list(M.decode(z)), every=8, cols=2)
print(f"samples {time.time() - T0:.1f}s", flush=True)
J = judge.train(M, cat, a.judge, **(dict(per_scene=2, clips=40) if a.tiny else {}))
torch.cuda.empty_cache() if DEV == "cuda" else None

# ---- prompt fidelity
NP = 128 if not a.tiny else 2
rng = np.random.default_rng(9)
scene_of = np.arange(len(bgs.NAMES))
items = []
while len(items) < NP:
    sc = bgs.NAMES[len(items) % 12]
    it = R.draw(rng, cat, scene_of, ids=[R.pick(rng, cat, sc)], scene=sc, look="")
    i = int(it["spr"][0])
    it["text"] = R.article(R.phrase(rng, cat, i, plain=True)) + " " + R.PLACES[sc][0]
    items.append(it)
prompts = [i["text"] for i in items]
tn = torch.tensor([cat.noun[int(i["spr"][0])] for i in items], device=DEV)
ts = torch.tensor([i["scene"] for i in items], device=DEV)
tc = torch.tensor([J.cols.index(cat.colours[int(i["spr"][0])]) if cat.colours[int(i["spr"][0])] else -1 for i in items], device=DEV)


def fidelity(steps, cfg, shift, seed=5):
    z = infer.sample(M, prompts, seed, steps, cfg, shift)
    r = judge.look(J, M.decode(z))
    ok = (r["noun"].argmax(1) == tn).float()
    seen = torch.isfinite(r["path"][..., 0]).float().mean().item()
    step = (r["path"][:, 1:] - r["path"][:, :-1]).norm(dim=-1)
    step = step[torch.isfinite(step)]
    col = (r["colour"].argmax(1) == tc)[tc >= 0].float().mean().item()
    top3 = (r["noun"].topk(3, 1).indices == tn[:, None]).any(1).float().mean().item()
    o = {"object": ok.mean().item(), "object_top3": top3, "scene": (r["scene"].argmax(1) == ts).float().mean().item(), "colour": col, "seen": seen,
         "step_px_median": step.median().item() if len(step) else None, "jump_over_12px": (step > 12).float().mean().item() if len(step) else None}
    res.setdefault("fidelity", {})[f"steps {steps} cfg {cfg} shift {shift}"] = o
    print(f"fidelity steps {steps} cfg {cfg} shift {shift}: " + " ".join(f"{k} {v:.3f}" for k, v in o.items() if v is not None), flush=True)
    save()


for s, c, sh in ((25, 5.0, 5.0), (25, 3.0, 5.0), (25, 7.0, 5.0), (25, 5.0, 3.0), (15, 5.0, 5.0), (40, 5.0, 5.0))[:1 if a.tiny else 9]:
    fidelity(s, c, sh)
print(f"{time.time() - T0:.1f}s", flush=True)

# ---- motion transfer
d = np.load(a.refs)
n = len(d["video"]) if not a.tiny else 2
vid = torch.from_numpy(d["video"][:n]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
path = torch.from_numpy(d["path"][:n]).float().to(DEV)
ref = M.encode(vid.to(DEV))
pr = [str(x) for x in d["prompt"][:n]]
gn = torch.tensor([cat.nouns.index(str(x)) for x in d["noun"][:n]], device=DEV)
gs = torch.tensor([bgs.NAMES.index(str(x)) for x in d["scene"][:n]], device=DEV)
gt = judge.look(J, M.decode(ref))["path"]


def measure(v, path):
    r = judge.look(J, v)
    q = r["path"]
    ok = torch.isfinite(q[..., 0])
    cor, dist, cosv = [], [], []
    for b in range(len(q)):
        m = ok[b]
        if m.sum() < 8:
            cor.append(0.0); dist.append(60.0); cosv.append(0.0); continue
        x, y = q[b][m], path[b][m]
        dist.append((x - y).norm(dim=1).mean().item())
        xs, ys = x - x.mean(0), y - y.mean(0)
        w = ys.pow(2).sum(0)
        use = ys.std(0) > 4
        c = (xs * ys).sum(0) / (xs.pow(2).sum(0).sqrt() * ys.pow(2).sum(0).sqrt() + 1e-6)
        cor.append(((c * w)[use].sum() / w[use].sum()).item() if use.any() else 0.0)
        dx, dy = q[b][4:] - q[b][:-4], path[b][4:] - path[b][:-4]
        k = torch.isfinite(dx[:, 0]) & (dy.norm(dim=1) > 2)
        cosv.append((torch.nn.functional.cosine_similarity(dx[k], dy[k], dim=1)).mean().item() if k.any() else 0.0)
    return {"corr": float(np.mean(cor)), "dist_px": float(np.mean(dist)), "vel_cos": float(np.mean(cosv)),
            "object": (r["noun"].argmax(1) == gn[:len(q)].repeat(len(q) // len(gn[:len(q)]))).float().mean().item() if len(q) == n else None,
            "scene": (r["scene"].argmax(1) == gs).float().mean().item() if len(q) == n else None, "each": [round(c, 2) for c in cor]}


def run(name, seeds=(3,), keep=False, **kw):
    if time.time() - T0 > a.seconds and not keep:
        return None
    t = time.time()
    rs, vs = [], []
    for s in seeds:
        v = M.decode(guide.transfer(M, ref, pr, seed=s, **kw))
        rs.append(measure(v, path)); vs.append(v)
    o = {k: float(np.mean([r[k] for r in rs])) for k in ("corr", "dist_px", "vel_cos", "object", "scene")}
    o["each"] = rs[0]["each"]
    o["args"] = {k: v for k, v in kw.items()}
    o["score"] = o["corr"] + 0.5 * (o["object"] + o["scene"])
    res.setdefault("transfer", {})[name] = o
    print(f"{name:42s} corr {o['corr']:+.3f} dist {o['dist_px']:5.1f} velcos {o['vel_cos']:+.3f} object {o['object']:.2f} scene {o['scene']:.2f} score {o['score']:.3f} ({time.time() - t:.1f}s)", flush=True)
    save()
    return o, vs[0]


res["reference_through_vae"] = measure(M.decode(ref), path)
print("judge on the references themselves", {k: v for k, v in res["reference_through_vae"].items() if k != "each"}, flush=True)
two = (3, 4)
un = run("unguided, pure noise", two, start="noise", guided=0)
for st in (0.97, 0.95, 0.9, 0.85, 0.8, 0.7):
    run(f"unguided, from reference {st}", start="ref", strength=st, guided=0)
best, bk = None, None
for b in range(8):
    o = run(f"guided noise start, block {b} lr .03", start="noise", block=b, lr0=0.03, lr1=0.02)
    if o and (best is None or o[0]["score"] > best):
        best, bk = o[0]["score"], b
bk = 4 if bk is None else bk
res["best_block"] = bk
cfg = dict(start="noise", block=bk, lr0=0.03, lr1=0.02)
best = best or -9


def climb(key, values, label=None):
    """Try values of one setting on top of the best so far."""
    global best, cfg
    for v in values:
        kw = dict(cfg); kw.update(v if isinstance(v, dict) else {key: v})
        if kw == cfg:
            continue
        o = run(f"block {bk} {key} {v}", **kw)
        if o and o[0]["score"] > best:
            best, new = o[0]["score"], kw
            climb.new = new
    if getattr(climb, "new", None):
        cfg = climb.new


climb("lr", [dict(lr0=.003, lr1=.002), dict(lr0=.01, lr1=.007), dict(lr0=.06, lr1=.04), dict(lr0=.1, lr1=.07)])
climb("start", [dict(start="ref", strength=s) for s in (0.97, 0.93, 0.9, 0.85)])
climb("guided", [5, 12, 16])
climb("tau", [3.0, 10.0])
climb("inner", [5, 20])
climb("interval", [1, 5])
climb("mode", [dict(mode="tile", tile=(3, 5), window=5), dict(mode="tile", tile=(2, 2), window=5), dict(mode="tile", tile=(3, 5), window=5, as_code=True)])
climb("sf", [2, 6, 9])
print("best", cfg, f"{time.time() - T0:.1f}s", flush=True)
res["best"] = {**guide.DEFAULT, **cfg}
g = run("FINAL best, two seeds", two, keep=True, **cfg)
r0 = run("FINAL same start, no guidance", two, keep=True, **{**cfg, "guided": 0})
rows = []
for i in range(min(n, 12)):
    rows += [vid[i].cpu(), (un[1][i] if un else g[1][i]).cpu(), r0[1][i].cpu(), g[1][i].cpu()]
sheet(a.out + "/transfer.png", rows, every=4, cols=1)
save()
print(f"total {time.time() - T0:.1f}s")
