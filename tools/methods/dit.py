# SPDX-License-Identifier: MIT
"""The Wan2.1 transformer as a function of its checkpoint's tensors, with gradients by autograd.

Shapes: latent [16, F, H, W]; tokens [N, dim], N = f·h·w over the patch (1, 2, 2); text [L, text_dim].
"""
import math

import torch
import torch.nn.functional as F


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def norm(x, eps, weight=None, bias=None):
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def rms(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def attend(q, k, v):
    a = (torch.einsum("qnd,knd->nqk", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("nqk,knd->qnd", a, v).flatten(1)


def angles(d, grid):
    """[N, d/2]: pairs of a head go to time, rows, columns; axis with P pairs: 10000^(-i/P)."""
    pairs = d // 2
    parts = []
    at = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in grid]).view(-1, 3)
    for axis, count in enumerate((pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)):
        parts.append(at[:, axis:axis + 1] * 10000.0 ** (-torch.arange(count, dtype=torch.float64) / count))
    return torch.cat(parts, 1)


def rotate(x, angle):
    c, s = angle.cos()[:, None].to(x.dtype), angle.sin()[:, None].to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)


class DiT:
    def __init__(self, weights, heads, eps, text_len):
        self.w, self.heads, self.eps, self.text_len = weights, heads, eps, text_len
        self.layers = len([n for n in weights if n.endswith(".modulation") and n.startswith("blocks.")])

    def split(self, x):
        return x.view(x.shape[0], self.heads, -1)

    def start(self, latent, t, text):
        w = self.w
        x = F.conv3d(latent[None], w["patch_embedding.weight"], w["patch_embedding.bias"], stride=(1, 2, 2))[0]
        grid = tuple(x.shape[1:])
        freq = w["time_embedding.0.weight"].shape[1]
        i = torch.arange(freq // 2, dtype=torch.float64)
        at = float(t) * 10000.0 ** (-i / (freq // 2))
        features = torch.cat([at.cos(), at.sin()]).float().to(latent.dtype)
        e = linear(w, "time_embedding.2", F.silu(linear(w, "time_embedding.0", features)))
        e0 = linear(w, "time_projection.1", F.silu(e)).view(6, -1)
        text = F.pad(text, (0, 0, 0, self.text_len - text.shape[0]))
        text = linear(w, "text_embedding.2", F.gelu(linear(w, "text_embedding.0", text), approximate="tanh"))
        x = x.flatten(1).T
        return x, grid, e, e0, text, angles(x.shape[1] // self.heads, grid)

    def qk(self, i, x, e0, angle):
        p, w = f"blocks.{i}.self_attn.", self.w
        m = w[f"blocks.{i}.modulation"][0] + e0
        h = norm(x, self.eps) * (1 + m[1]) + m[0]
        q = rotate(self.split(rms(linear(w, p + "q", h), w[p + "norm_q.weight"], self.eps)), angle)
        k = rotate(self.split(rms(linear(w, p + "k", h), w[p + "norm_k.weight"], self.eps)), angle)
        return q, k, h, m

    def block(self, i, x, e0, text, angle):
        w, p = self.w, f"blocks.{i}."
        q, k, h, m = self.qk(i, x, e0, angle)
        v = self.split(linear(w, p + "self_attn.v", h))
        x = x + m[2] * linear(w, p + "self_attn.o", attend(q, k, v))
        a = p + "cross_attn."
        h = norm(x, self.eps, w[p + "norm3.weight"], w[p + "norm3.bias"])
        q = self.split(rms(linear(w, a + "q", h), w[a + "norm_q.weight"], self.eps))
        k = self.split(rms(linear(w, a + "k", text), w[a + "norm_k.weight"], self.eps))
        x = x + linear(w, a + "o", attend(q, k, self.split(linear(w, a + "v", text))))
        h = norm(x, self.eps) * (1 + m[4]) + m[3]
        return x + m[5] * linear(w, p + "ffn.2", F.gelu(linear(w, p + "ffn.0", h), approximate="tanh"))

    def hidden(self, latent, t, text, block):
        """After `block`: [f, h, w, dim]."""
        x, grid, e, e0, ctx, angle = self.start(latent, t, text)
        for i in range(block + 1):
            x = self.block(i, x, e0, ctx, angle)
        return x.view(*grid, -1)

    def queries_keys(self, latent, t, text, block):
        """Of `block`: two of [N, heads, d], and the grid."""
        x, grid, e, e0, ctx, angle = self.start(latent, t, text)
        for i in range(block):
            x = self.block(i, x, e0, ctx, angle)
        q, k, _, _ = self.qk(block, x, e0, angle)
        return q, k, grid

    def velocity(self, latent, t, text):
        x, grid, e, e0, ctx, angle = self.start(latent, t, text)
        for i in range(self.layers):
            x = self.block(i, x, e0, ctx, angle)
        m = self.w["head.modulation"][0] + e
        x = linear(self.w, "head.head", norm(x, self.eps) * (1 + m[1]) + m[0])
        f, h, w = grid
        return x.view(f, h, w, 2, 2, -1).permute(5, 0, 1, 3, 2, 4).reshape(-1, f, 2 * h, 2 * w)
