# SPDX-License-Identifier: MIT
"""Loading and sampling (Euler, flow matching, classifier-free guidance)."""
import json
import torch
import wan_tiny as w
from common import *


class Model:
    def __init__(self, data, vae_dir, dit_dir, pre="ema_", dev=DEV):
        info = json.load(open(vae_dir + "/vae.json"))
        self.vae = w.VAE(info["dim"])
        self.vae.load_state_dict(w.st_load(vae_dir + "/vae.safetensors"))
        self.mean, self.std = torch.tensor(info["mean"], device=dev), torch.tensor(info["std"], device=dev)
        self.tok = w.Tokenizer(data + "/spiece.model")
        self.text, self.dit = w.T5(len(self.tok)), w.DiT()
        self.text.load_state_dict(w.st_load(f"{dit_dir}/{pre}text.safetensors"))
        self.dit.load_state_dict(w.st_load(f"{dit_dir}/{pre}dit.safetensors"))
        for m in (self.vae, self.text, self.dit):
            m.to(dev).eval().requires_grad_(False)
        self.dev = dev

    @classmethod
    def package(cls, d, dev=DEV):
        """From the shipped files (config.json and the safetensors beside it)."""
        c = json.load(open(d + "/config.json"))
        M = cls.__new__(cls)
        v, t, m = c["vae"], c["text"], c["dit"]
        M.vae = w.VAE(v["dim"], v["z_dim"], v["dim_mult"], v["num_res_blocks"], v["temporal_downsample"])
        M.text = w.T5(t["vocab_size"], t["dim"], t["dim_ffn"], t["num_heads"], t["num_layers"], t["num_buckets"])
        M.dit = w.DiT(m["dim"], m["ffn_dim"], m["num_heads"], m["num_layers"], m["in_dim"], m["out_dim"], m["freq_dim"], m["text_dim"], m["text_len"], m["patch_size"])
        for n, k in ((M.vae, v), (M.text, t), (M.dit, m)):
            n.load_state_dict(w.st_load(d + "/" + k["file"]))
            n.to(dev).eval().requires_grad_(False)
        M.tok = w.Tokenizer(d + "/spiece.model")
        M.mean, M.std, M.dev = torch.tensor(v["mean"], device=dev), torch.tensor(v["std"], device=dev), dev
        return M

    @torch.no_grad()
    def context(self, prompts):
        ids, m = self.tok(prompts)
        return self.text(ids.to(self.dev), m.to(self.dev))

    @torch.no_grad()
    def encode(self, x):
        return torch.cat([self.vae.encode(q, self.mean, self.std).float() for q in x.to(self.dev).split(8)])

    @torch.no_grad()
    def decode(self, z):
        out = []
        for q in z.split(8):
            with autocast():
                out.append(self.vae.decode(q, self.mean, self.std).float().clamp(-1, 1))
        return torch.cat(out)

    def velocity(self, x, sigma, ctx, nul, cfg):
        t = torch.full((len(x),), sigma * 1000.0, device=x.device)
        with torch.no_grad(), autocast():
            if cfg == 1 or nul is None:
                return self.dit(x, t, ctx).float()
            v = self.dit(torch.cat([x, x]), torch.cat([t, t]), torch.cat([ctx, nul])).float()
        a, b = v.chunk(2)
        return b + cfg * (a - b)


def sigmas(steps, shift, strength=1.0):
    s = torch.linspace(strength, 0, steps + 1, dtype=torch.float64)
    return (shift * s / (1 + (shift - 1) * s)).tolist()


def noise(n, seed, dev, shape=(16, 9, 12, 20)):
    """Made on the CPU, so that it is the same everywhere."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn((n,) + shape, generator=g).to(dev)


def sample(M, prompts, seed=0, steps=25, cfg=5.0, shift=5.0):
    ctx, nul = M.context(prompts), M.context([""] * len(prompts))
    s = sigmas(steps, shift)
    x = noise(len(prompts), seed, M.dev)
    for i in range(steps):
        x = x + (s[i + 1] - s[i]) * M.velocity(x, s[i], ctx, nul, cfg)
    return x


PROMPTS = ["a red car on snow", "a dog on grass", "a cat in the city", "a blue balloon in the sky", "a yellow star in the night sky",
           "a penguin on snow", "a soccer ball on a green field", "an elephant in the desert", "a green sailboat on the sea",
           "a rocket among the stars", "a purple umbrella in front of a brick wall", "a banana on a road", "a fox in the forest",
           "a pink heart at sunset", "a panda in the mountains", "a white circle on the road", "a dog and a red ball on grass",
           "a helicopter in the mountains", "a butterfly in a forest", "an orange scooter in the city", "a ghost at night under the stars",
           "a turtle in the desert", "a strawberry on a brick wall", "a blue square in the desert, in black and white"]

if __name__ == "__main__":
    import argparse, time
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True); ap.add_argument("--vae", required=True); ap.add_argument("--dit", required=True)
    ap.add_argument("--out", required=True); ap.add_argument("--pre", default="ema_"); ap.add_argument("--steps", type=int, default=25)
    ap.add_argument("--cfg", type=float, default=5.0); ap.add_argument("--shift", type=float, default=5.0)
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--n", type=int, default=24)
    a = ap.parse_args()
    t = time.time()
    M = Model(a.data, a.vae, a.dit, a.pre)
    z = sample(M, PROMPTS[:a.n], a.seed, a.steps, a.cfg, a.shift)
    v = M.decode(z)
    sheet(a.out, list(v), every=8, cols=2)
    print(f"sampled {len(v)} clips in {time.time() - t:.1f}s, latent std {z.std():.3f}")
