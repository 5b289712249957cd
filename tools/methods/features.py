# SPDX-License-Identifier: MIT
"""The methods' features and distances, written by their definitions (docs/methods.md), plainly rather than fast.

A feature function takes what the method taps; q, k [N, n, d], hidden [f, h, w, C], estimate [C, F, H, W].
Flows are [pairs, tokens, 2]: rows, then columns.
"""
import math

import torch


def places(h, w, dtype):
    return torch.cartesian_prod(torch.arange(h), torch.arange(w)).view(-1, 2).to(dtype)


def expected(z, h, w, dtype):
    at = places(h, w, dtype)
    return z.softmax(-1) @ at - at


def mean_heads(x, grid):
    return x.mean(1).view(grid[0], grid[1] * grid[2], -1)


def near_pairs(f, span):
    return [(i, j) for i in range(f) for j in range(i, min(f, i + span))]


def all_pairs(f):
    return [(i, j) for i in range(f) for j in range(f)]


def dense(q, k, grid, pairs, tau=1.0, top=None):
    """Each token against all tokens of the other frame, or its `top` best."""
    Q, K = mean_heads(q, grid), mean_heads(k, grid)
    flows = []
    for i, j in pairs:
        z = tau * (Q[i] @ K[j].T) / math.sqrt(Q.shape[-1])
        if top and top < z.shape[1]:
            kept = z.topk(top, -1).indices
            z = torch.full_like(z, -math.inf).scatter(-1, kept, z.gather(-1, kept))
        flows.append(expected(z, grid[1], grid[2], q.dtype))
    return torch.stack(flows)


def ditflow(q, k, grid, tau=2.0, best=False):
    """All ordered pairs, logits averaged over the heads; best: the largest one's place."""
    f, h, w = grid
    q, k = (x.view(f, h * w, *x.shape[1:]) for x in (q, k))
    at, flows = places(h, w, q.dtype), []
    for i, j in all_pairs(f):
        z = (torch.einsum("snd,pnd->nsp", q[i], k[j]) / math.sqrt(q.shape[-1])).mean(0)
        flows.append(at[z.argmax(-1)] - at if best else expected(tau * z, h, w, q.dtype))
    return torch.stack(flows)


def ditflow_mse(flow, ref):
    kept = ref.abs().sum(-1) > 0
    return (flow[kept] - ref[kept]).pow(2).mean()


def pair_distance(flow, ref, weights):
    """Mean over the pairs of weight · squared distance of all tokens."""
    return (weights.to(flow.dtype) * (flow - ref).pow(2).sum((1, 2))).mean()


def near_weights(f, span, last):
    return torch.tensor([1 + (last - 1) * (j - i) / (span - 1) if span > 1 else 1.0 for i, j in near_pairs(f, span)],
                        dtype=torch.float64)


def unit(x):
    return x / x.flatten(1).norm(dim=1).clamp_min(1e-6).view(-1, *[1] * (x.dim() - 1))


def smm(hidden, side):
    """[f - 1, C, side, side]."""
    f, h, w, _ = hidden.shape
    cells = []
    for a in range(side):
        rows = slice(a * h // side, -(-(a + 1) * h // side))
        for b in range(side):
            cols = slice(b * w // side, -(-(b + 1) * w // side))
            cells.append(hidden[:, rows, cols].mean((1, 2)))
    x = torch.stack(cells, -1)
    x = x - x.mean(-1, keepdim=True)
    return unit((x[1:] - x[:-1]).view(f - 1, -1, side, side))


def moft_moves(hidden):
    x = hidden.mean((1, 2))
    x = x - x.mean(0)
    return x[1:] - x[:-1]


def moft_channels(hidden, share):
    moves = moft_moves(hidden)
    return moves.abs().mean(0).topk(max(1, int(moves.shape[1] * share))).indices


def moft(hidden, channels):
    return unit(moft_moves(hidden)[:, channels])


def flowmotion_distance(z, ref):
    """4 · mean of the squares, plus that of the differences of each frame with each other."""
    frames = z.shape[1]
    apart = [(z[:, i] - z[:, j]) - (ref[:, i] - ref[:, j]) for i, j in all_pairs(frames) if i != j]
    return 4 * (z - ref).pow(2).mean() + torch.stack(apart).pow(2).mean()
