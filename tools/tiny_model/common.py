# SPDX-License-Identifier: MIT
import os, time, torch, numpy as np
from PIL import Image

WORKERS = max(1, (os.cpu_count() or 1))
DEV = "cuda" if torch.cuda.is_available() else "cpu"


def autocast():
    return torch.autocast(DEV, dtype=torch.bfloat16, enabled=DEV == "cuda")


def sync():
    if DEV == "cuda":
        torch.cuda.synchronize()


def sheet(path, clips, every=4, cols=1, gap=2):
    """clips: list of [3, T, H, W] in [-1, 1]; one row of frames for each, cols clips side by side."""
    rows = []
    for c in clips:
        f = ((c.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()[:, ::every]
        rows.append(f.transpose(2, 1, 3, 0).reshape(f.shape[2], -1, 3))
    h, w = rows[0].shape[:2]
    n = (len(rows) + cols - 1) // cols
    out = np.zeros((n * (h + gap), cols * (w + 3 * gap), 3), np.uint8)
    for i, r in enumerate(rows):
        y, x = i // cols * (h + gap), i % cols * (w + 3 * gap)
        out[y:y + h, x:x + w] = r
    Image.fromarray(out).save(path)


def psnr(a, b):
    mse = ((a.float().clamp(-1, 1) - b.float().clamp(-1, 1)) / 2).pow(2).flatten(1).mean(1)
    return -10 * torch.log10(mse)


class EMA:
    def __init__(self, mods, decay):
        self.src = [p for m in mods for p in m.parameters()]
        self.avg = [p.detach().clone() for p in self.src]
        self.decay, self.n = decay, 0

    @torch.no_grad()
    def update(self):
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
        torch._foreach_lerp_(self.avg, [p.detach() for p in self.src], 1 - d) if hasattr(torch, "_foreach_lerp_") else \
            [a.lerp_(p.detach(), 1 - d) for a, p in zip(self.avg, self.src)]

    @torch.no_grad()
    def swap(self):
        for a, p in zip(self.avg, self.src):
            t = p.detach().clone(); p.copy_(a); a.copy_(t)


class Muon:
    """Orthogonalised momentum for matrices and convolutions (seen as out x rest); same shapes run
    as one batch."""

    def __init__(self, params, lr, momentum=0.95, wd=0.01):
        self.groups = {}
        for p in params:
            self.groups.setdefault((p.shape[0], p[0].numel()), []).append(p)
        self.buf = {s: torch.zeros((len(ps),) + s, device=ps[0].device) for s, ps in self.groups.items()}
        self.lr, self.mom, self.wd = lr, momentum, wd
        self.half = torch.bfloat16 if DEV == "cuda" else torch.float32

    @torch.no_grad()
    def step(self, scale):
        lr = self.lr * scale
        for s, ps in self.groups.items():
            g = torch.stack([p.grad.reshape(s) for p in ps]).float()
            b = self.buf[s]
            b.lerp_(g, 1 - self.mom)
            x = g.lerp(b, self.mom)
            flip = s[0] > s[1]
            x = x.transpose(1, 2) if flip else x
            x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-12)).to(self.half)
            for _ in range(5):
                A = x @ x.transpose(1, 2)
                x = 3.4445 * x + (-4.7750 * A + 2.0315 * (A @ A)) @ x
            x = (x.transpose(1, 2) if flip else x).float() * (-lr * max(1.0, s[0] / s[1]) ** 0.5)
            torch._foreach_mul_(ps, 1 - lr * self.wd)
            for p, u in zip(ps, x.unbind(0)):
                p.add_(u.reshape(p.shape))
