# SPDX-License-Identifier: MIT
"""The Wan2.1 text-to-video networks at any size, with the tensor names of the published
checkpoints: causal 3D VAE, UMT5 encoder, diffusion transformer; plus safetensors reading/writing.

The VAE here works on the whole clip at once; it gives what the published chunked form
(1, 4, 4, ... frames with caches) gives, frame for frame.
"""
import json
import math
import struct

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

def sdpa(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax(q.float() @ k.float().transpose(-1, -2) / math.sqrt(q.shape[-1]), -1).to(v.dtype) @ v


CONV = "3d"                                # "3d" or "cat2d": how causal convolutions run


# ================================================================ VAE
def norm_silu_eager(x, gamma):
    n = x.float()
    n = n * (math.sqrt(x.shape[1]) / n.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return F.silu(n * gamma.float()).to(x.dtype)


norm_silu = norm_silu_eager                # may be replaced by a compiled one


class CConv(nn.Module):
    """Causal convolution: time padded on the left only, with zeros."""

    def __init__(self, cin, cout, k, stride=1, pad=True):
        super().__init__()
        k = (k,) * 3 if isinstance(k, int) else k
        ref = nn.Conv3d(cin, cout, k)
        self.weight, self.bias = ref.weight, ref.bias
        self.k, self.stride, self.pad = k, stride, pad

    def forward(self, x):
        kt, kh, kw = self.k
        if self.stride != 1 or not self.pad:
            return F.conv3d(x, self.weight, self.bias, stride=(self.stride, 1, 1))
        T = x.shape[2]
        if CONV == "3d" or kt == 1:
            y = F.conv3d(x, self.weight, self.bias, padding=(kt - 1, kh // 2, kw // 2))
            return y[:, :, :T] if kt > 1 else y
        B, C, _, H, W = x.shape
        xp = F.pad(x, (0, 0, 0, 0, kt - 1, 0))
        cat = torch.cat([xp[:, :, i:i + T] for i in range(kt)], 1)
        cat = cat.permute(0, 2, 1, 3, 4).reshape(B * T, kt * C, H, W)
        w = self.weight.permute(0, 2, 1, 3, 4).reshape(-1, kt * C, kh, kw)
        y = F.conv2d(cat, w, self.bias, padding=(kh // 2, kw // 2))
        return y.reshape(B, T, -1, H, W).permute(0, 2, 1, 3, 4)


class Norm(nn.Module):
    def __init__(self, dim, images=False):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones((dim, 1, 1) if images else (dim, 1, 1, 1)))


class Res(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        I = nn.Identity
        self.residual = nn.Sequential(Norm(cin), I(), CConv(cin, cout, 3), Norm(cout), I(), I(), CConv(cout, cout, 3))
        self.shortcut = CConv(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x):
        r = self.residual
        h = r[2](norm_silu(x, r[0].gamma))
        h = r[6](norm_silu(h, r[3].gamma))
        return h + self.shortcut(x)


class Attn(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = Norm(dim, images=True)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x):
        B, C, T, H, W = x.shape
        y = x.permute(0, 2, 1, 3, 4).reshape(B * T, C, H, W)
        n = F.normalize(y.float(), dim=1) * math.sqrt(C) * self.norm.gamma
        q, k, v = self.to_qkv(n.to(x.dtype)).reshape(B * T, 3, C, H * W).transpose(2, 3).unbind(1)
        o = sdpa(q.contiguous(), k.contiguous(), v.contiguous())
        o = self.proj(o.transpose(1, 2).reshape(B * T, C, H, W))
        return x + o.reshape(B, T, C, H, W).permute(0, 2, 1, 3, 4)


def per_frame(f, x):
    B, C, T, H, W = x.shape
    y = f(x.permute(0, 2, 1, 3, 4).reshape(B * T, C, H, W))
    return y.reshape(B, T, *y.shape[1:]).permute(0, 2, 1, 3, 4)


class Down(nn.Module):
    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        if time:
            self.time_conv = CConv(dim, dim, (3, 1, 1), stride=2)
        self.time = time

    def forward(self, x):
        x = per_frame(self.resample, x)
        if self.time and x.shape[2] > 1:
            x = torch.cat([x[:, :, :1], self.time_conv(x)], 2)
        return x


class Up(nn.Module):
    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest-exact"), nn.Conv2d(dim, dim // 2, 3, padding=1))
        if time:
            self.time_conv = CConv(dim, dim * 2, (3, 1, 1))
        self.time = time

    def forward(self, x):
        if self.time and x.shape[2] > 1:
            B, C, T, H, W = x.shape
            y = self.time_conv(x[:, :, 1:])                         # the first frame stays one frame
            y = y.reshape(B, 2, C, T - 1, H, W).permute(0, 2, 3, 1, 4, 5).reshape(B, C, 2 * (T - 1), H, W)
            x = torch.cat([x[:, :, :1], y], 2)
        return per_frame(self.resample, x)


class Encoder(nn.Module):
    def __init__(self, dim, z, mult, nres, tdown):
        super().__init__()
        dims = [dim * m for m in [1] + mult]
        self.conv1 = CConv(3, dims[0], 3)
        L = []
        for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
            for j in range(nres):
                L.append(Res(a if j == 0 else b, b))
            if i < len(mult) - 1:
                L.append(Down(b, tdown[i]))
        self.downsamples = nn.Sequential(*L)
        self.middle = nn.Sequential(Res(b, b), Attn(b), Res(b, b))
        self.head = nn.Sequential(Norm(b), nn.Identity(), CConv(b, z, 3))

    def forward(self, x):
        x = self.middle(self.downsamples(self.conv1(x)))
        return self.head[2](norm_silu(x, self.head[0].gamma))


class Decoder(nn.Module):
    def __init__(self, dim, z, mult, nres, tup):
        super().__init__()
        dims = [dim * m for m in [mult[-1]] + mult[::-1]]
        self.conv1 = CConv(z, dims[0], 3)
        self.middle = nn.Sequential(Res(dims[0], dims[0]), Attn(dims[0]), Res(dims[0], dims[0]))
        L = []
        for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
            if i:
                a //= 2
            for j in range(nres + 1):
                L.append(Res(a if j == 0 else b, b))
            if i < len(mult) - 1:
                L.append(Up(b, tup[i]))
        self.upsamples = nn.Sequential(*L)
        self.head = nn.Sequential(Norm(b), nn.Identity(), CConv(b, 3, 3))

    def forward(self, x):
        x = self.upsamples(self.middle(self.conv1(x)))
        return self.head[2](norm_silu(x, self.head[0].gamma))


class VAE(nn.Module):
    def __init__(self, dim=16, z_dim=16, dim_mult=(1, 2, 4, 4), num_res_blocks=2, temporal_downsample=(False, True, True)):
        super().__init__()
        mult, td = list(dim_mult), list(temporal_downsample)
        self.encoder = Encoder(dim, 2 * z_dim, mult, num_res_blocks, td)
        self.conv1 = CConv(2 * z_dim, 2 * z_dim, 1)
        self.conv2 = CConv(z_dim, z_dim, 1)
        self.decoder = Decoder(dim, z_dim, mult, num_res_blocks, td[::-1])

    def moments(self, x):
        return self.conv1(self.encoder(x)).chunk(2, 1)

    def encode(self, x, mean=None, std=None):
        mu = self.moments(x)[0].float()
        return mu if mean is None else (mu - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)

    def decode(self, z, mean=None, std=None):
        if mean is not None:
            z = z * std.view(1, -1, 1, 1, 1) + mean.view(1, -1, 1, 1, 1)
        return self.decoder(self.conv2(z))


# ================================================================ UMT5 encoder
class T5Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class T5Attn(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.h = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, bias):
        B, L, C = x.shape
        q, k, v = (f(x).view(B, L, self.h, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = (q @ k.transpose(-1, -2)).float() + bias                 # T5 does not scale
        return self.o((a.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(B, L, C))


class T5FFN(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(dim, ffn, bias=False), nn.Identity())
        self.fc1 = nn.Linear(dim, ffn, bias=False)
        self.fc2 = nn.Linear(ffn, dim, bias=False)

    def forward(self, x):
        return self.fc2(self.fc1(x) * F.gelu(self.gate[0](x), approximate="tanh"))


class T5Rel(nn.Module):
    def __init__(self, buckets, heads, max_dist=128):
        super().__init__()
        self.embedding = nn.Embedding(buckets, heads)
        self.n, self.max_dist = buckets, max_dist

    def forward(self, L):
        dev = self.embedding.weight.device
        d = torch.arange(L, device=dev)[None] - torch.arange(L, device=dev)[:, None]
        n = self.n // 2
        b = (d > 0).long() * n
        d = d.abs()
        e = n // 2
        big = e + (torch.log(d.float().clamp_min(1) / e) / math.log(self.max_dist / e) * (n - e)).long()
        return self.embedding(b + torch.where(d < e, d, big.clamp_max(n - 1))).permute(2, 0, 1)[None]


class T5Block(nn.Module):
    def __init__(self, dim, ffn, heads, buckets):
        super().__init__()
        self.norm1, self.attn = T5Norm(dim), T5Attn(dim, heads)
        self.norm2, self.ffn = T5Norm(dim), T5FFN(dim, ffn)
        self.pos_embedding = T5Rel(buckets, heads)                   # UMT5: one in each block

    def forward(self, x, neg):
        x = x + self.attn(self.norm1(x), self.pos_embedding(x.shape[1]) + neg)
        return x + self.ffn(self.norm2(x))


class T5(nn.Module):
    def __init__(self, vocab_size, dim=128, ffn_dim=320, num_heads=4, num_layers=2, num_buckets=32):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.blocks = nn.ModuleList([T5Block(dim, ffn_dim, num_heads, num_buckets) for _ in range(num_layers)])
        self.norm = T5Norm(dim)
        nn.init.normal_(self.token_embedding.weight, std=1.0)
        for b in self.blocks:
            nn.init.normal_(b.attn.q.weight, std=(dim * dim) ** -0.5 * dim ** 0.25)
            for m in (b.attn.k, b.attn.v, b.attn.o, b.ffn.gate[0], b.ffn.fc1):
                nn.init.normal_(m.weight, std=dim ** -0.5)
            nn.init.normal_(b.ffn.fc2.weight, std=ffn_dim ** -0.5)
            nn.init.normal_(b.pos_embedding.embedding.weight, std=(2 * num_buckets * num_heads) ** -0.5)

    def forward(self, ids, mask):
        """ids [B, L] (0 = padding), mask [B, L] -> [B, L, dim], zero where padded."""
        x = self.token_embedding(ids)
        neg = torch.zeros(mask.shape, device=ids.device).masked_fill(mask == 0, -1e9)[:, None, None]
        for b in self.blocks:
            x = b(x, neg)
        return self.norm(x) * mask[..., None]


# ================================================================ diffusion transformer
def rope_tables(head_dim, f, h, w, theta=10000.0, device=None):
    c = head_dim // 2
    parts = []
    for n, (pos, width) in enumerate(((f, c - 2 * (c // 3)), (h, c // 3), (w, c // 3))):
        d = 2 * width
        fr = torch.outer(torch.arange(pos, dtype=torch.float64), theta ** -(torch.arange(0, d, 2, dtype=torch.float64) / d))
        shape = [1, 1, 1, width]
        shape[n] = pos
        parts.append(fr.view(shape).expand(f, h, w, width))
    a = torch.cat(parts, -1).reshape(f * h * w, c)
    return torch.cos(a).float().to(device), torch.sin(a).float().to(device)


def rope(x, cos, sin):
    """x [B, S, n, d] float; pairs of neighbours turn."""
    B, S, n, d = x.shape
    a, b = x.float().view(B, S, n, d // 2, 2).unbind(-1)
    c, s = cos[None, :, None], sin[None, :, None]
    return torch.stack([a * c - b * s, a * s + b * c], -1).view(B, S, n, d)


class RMS(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        f = x.float()
        return f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class DAttn(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMS(dim), RMS(dim)
        self.n = heads

    def forward(self, x, ctx=None, cs=None, keep=None):
        B, S, C = x.shape
        y = x if ctx is None else ctx
        q = self.norm_q(self.q(x)).view(B, S, self.n, -1)
        k = self.norm_k(self.k(y)).view(B, y.shape[1], self.n, -1)
        v = self.v(y).view(B, y.shape[1], self.n, -1)
        if cs is not None:
            q, k = rope(q, *cs), rope(k, *cs)
        if keep is not None:
            keep.append((q, k))
        o = sdpa(q.to(v.dtype).transpose(1, 2), k.to(v.dtype).transpose(1, 2), v.transpose(1, 2))
        return self.o(o.transpose(1, 2).reshape(B, S, C))


class Block(nn.Module):
    def __init__(self, dim, ffn, heads):
        super().__init__()
        self.self_attn = DAttn(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.cross_attn = DAttn(dim, heads)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU(approximate="tanh"), nn.Linear(ffn, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim ** 0.5)
        self.dim = dim

    def forward(self, x, e, ctx, cos, sin):
        return self.run(x, e, ctx, cos, sin, None)

    def run(self, x, e, ctx, cos, sin, keep):
        m = (self.modulation + e).unbind(1)
        m = [i.unsqueeze(1) for i in m]
        ln = lambda v: F.layer_norm(v.float(), (self.dim,), eps=1e-6)
        x = x + self.self_attn(ln(x) * (1 + m[1]) + m[0], None, (cos, sin), keep).float() * m[2]
        x = x + self.cross_attn(self.norm3(x), ctx).float()
        return x + self.ffn(ln(x) * (1 + m[4]) + m[3]).float() * m[5]


class Head(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.head = nn.Linear(dim, out)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim ** 0.5)
        self.dim = dim

    def forward(self, x, e):
        m = (self.modulation + e.unsqueeze(1)).unbind(1)
        return self.head(F.layer_norm(x.float(), (self.dim,), eps=1e-6) * (1 + m[1].unsqueeze(1)) + m[0].unsqueeze(1))


class DiT(nn.Module):
    def __init__(self, dim=256, ffn_dim=640, num_heads=4, num_layers=8, in_dim=16, out_dim=16, freq_dim=256, text_dim=128, text_len=64, patch_size=(1, 2, 2)):
        super().__init__()
        self.dim, self.heads, self.freq_dim, self.text_len = dim, num_heads, freq_dim, text_len
        self.patch, self.out_dim = tuple(patch_size), out_dim
        self.patch_embedding = nn.Conv3d(in_dim, dim, self.patch, stride=self.patch)
        act = nn.GELU(approximate="tanh")
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), act, nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim * 6))
        self.blocks = nn.ModuleList([Block(dim, ffn_dim, num_heads) for _ in range(num_layers)])
        self.head = Head(dim, out_dim * math.prod(self.patch))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for s in (self.text_embedding, self.time_embedding):
            for m in s:
                if isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)
        self.tables = {}

    def forward(self, x, t, ctx, qk=None):
        """x [B, C, F, H, W], t [B] in 0..1000, ctx [B, L, text_dim]; returns the velocity.
        With qk = block number: returns that block's (q, k) after RoPE and stops there."""
        B, C, f, h, w = x.shape
        fq = self.freq_dim // 2
        p = torch.pow(10000.0, -torch.arange(fq, device=x.device, dtype=torch.float64) / fq)
        s = t.double()[:, None] * p[None]
        with torch.autocast(x.device.type, enabled=False):
            e = self.time_embedding(torch.cat([s.cos(), s.sin()], 1).float())
            e0 = self.time_projection(e).view(B, 6, self.dim)
        if ctx.shape[1] < self.text_len:
            ctx = F.pad(ctx, (0, 0, 0, self.text_len - ctx.shape[1]))
        ctx = self.text_embedding(ctx)
        x = self.patch_embedding(x)
        g = x.shape[2:]
        x = x.flatten(2).transpose(1, 2).float()
        key = (tuple(g), x.device)
        if key not in self.tables:
            self.tables[key] = rope_tables(self.dim // self.heads, *g, device=x.device)
        cos, sin = self.tables[key]
        for i, b in enumerate(self.blocks):
            if qk is not None and i == qk:
                keep = []
                b.run(x, e0, ctx, cos, sin, keep)
                return keep[0]
            x = b(x, e0, ctx, cos, sin)
        x = self.head(x, e).float()
        pt, ph, pw = self.patch
        x = x.view(B, *g, pt, ph, pw, self.out_dim).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(B, self.out_dim, f, h, w)


# ================================================================ safetensors
ST = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def st_save(path, tensors, dtype, meta=None):
    head, off, blobs = {}, 0, []
    if meta:
        head["__metadata__"] = {k: str(v) for k, v in meta.items()}
    for k in sorted(tensors):
        t = tensors[k].detach().cpu().to(ST[dtype]).contiguous()
        raw = t.view(torch.int16).numpy().tobytes() if t.element_size() == 2 else t.numpy().tobytes()
        head[k] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [off, off + len(raw)]}
        off += len(raw)
        blobs.append(raw)
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h + b"".join(blobs))


def st_load(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    out = {}
    for k, v in head.items():
        if k == "__metadata__":
            continue
        a, b = v["data_offsets"]
        buf = bytearray(raw[8 + n + a:8 + n + b])
        dt = ST[v["dtype"]]
        t = torch.frombuffer(buf, dtype=torch.int16).view(dt) if v["dtype"] != "F32" else torch.frombuffer(buf, dtype=dt)
        out[k] = t.reshape(v["shape"]).float()
    return out


class Tokenizer:
    """sentencepiece ids + </s>, padded with 0."""

    def __init__(self, path):
        import sentencepiece as spm
        self.sp = spm.SentencePieceProcessor(model_file=path)

    def __len__(self):
        return self.sp.get_piece_size()

    def __call__(self, texts, n=32):
        ids = np.zeros((len(texts), n), np.int64)
        for i, t in enumerate(texts):
            e = (self.sp.encode(" ".join(t.split())) + [1])
            if len(e) > n:
                e = e[:n - 1] + [1]
            ids[i, :len(e)] = e
        ids = torch.from_numpy(ids)
        m = ids.ne(0)
        return ids, m


def count(m):
    return sum(p.numel() for p in m.parameters())
