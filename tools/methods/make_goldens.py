#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the golden cases of the methods beside FastVMT: features_b, and the guided loop guided_NAME of each.

usage: tools/methods/make_goldens.py [tests/data/golden]      (needs torch, safetensors)

Every case is computed in float64 and again in float32; stored is the former, tolerances.tsv gets ten times what the latter is
off.  The guided cases use the weights of guided_a.
"""
import math
import pathlib
import re
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import features as ft
from dit import DiT

ROOT = pathlib.Path(__file__).resolve().parents[2]


def round_up(x):
    """To one digit."""
    if x == 0:
        return 1e-9
    digit = 10.0 ** math.floor(math.log10(x))
    return math.ceil(x / digit) * digit


def store(folder, name, inputs, meta, run):
    """run(dtype) -> {tensor: value}; integers are exact."""
    exact, single = run(torch.float64), run(torch.float32)
    tensors, rows = {f"in.{k}": v for k, v in inputs.items()}, []
    for key, value in exact.items():
        key = f"out.{key}"
        if value.dtype == torch.int64:
            rows.append((name, key, "exact"))
            assert torch.equal(value, single[key[4:]]), key
        else:
            off = (value - single[key[4:]].double()).abs().max().item()
            # one number may be right by luck
            floor = 2.0 ** (-20 if value.numel() < 16 else -22) * value.abs().max().item()
            rows.append((name, key, f"{round_up(10 * max(off, floor)):.0e}"))
            value = value.float()
        tensors[key] = value.contiguous()
    save_file(tensors, folder / f"{name}.safetensors", metadata=meta)
    table = folder / "tolerances.tsv"
    kept = [line for line in table.read_text().splitlines() if line.split("\t")[0] != name]
    table.write_text("\n".join(kept + ["\t".join(r) for r in rows]) + "\n")
    print(name, (folder / f"{name}.safetensors").stat().st_size)


def randn(generator, *shape, scale=1.0):
    return scale * torch.randn(shape, generator=generator)


# ------------------------------------------------------------------ features of given taps

def features_case(folder):
    grid, heads, dim, span, top, side, share = (3, 5, 7), 3, 8, 2, 4, 3, 0.2
    g = torch.Generator().manual_seed(71)
    tokens = grid[0] * grid[1] * grid[2]
    inputs = {"q": randn(g, 1, tokens, heads, dim, scale=2.0), "k": randn(g, 1, tokens, heads, dim, scale=2.0),
              "hid_ref": randn(g, *grid, 24), "hid": randn(g, *grid, 24),
              "ref": randn(g, len(ft.near_pairs(grid[0], span)), grid[1] * grid[2], 2, scale=3.0)}

    def run(dtype):
        out = {}
        weights = ft.near_weights(grid[0], span, 0.8)
        ref = inputs["ref"].to(dtype)

        def flow_case(name, flow_of, loss_of):
            q, k = (inputs[x][0].to(dtype).requires_grad_(True) for x in "qk")
            flow = flow_of(q, k)
            loss = loss_of(flow)
            dq, dk = torch.autograd.grad(loss, (q, k))
            if name != "ditflow":
                out[f"{name}.flow"] = flow.detach()
            out.update({f"{name}.loss": loss.detach(), f"{name}.grad_q": dq[None], f"{name}.grad_k": dk[None]})

        near = ft.near_pairs(grid[0], span)
        flow_case("dense", lambda q, k: ft.dense(q, k, grid, near), lambda x: 5 * ft.pair_distance(x, ref, weights))
        flow_case("topk", lambda q, k: ft.dense(q, k, grid, near, top=top), lambda x: 5 * ft.pair_distance(x, ref, weights))
        q, k = (inputs[x][0].to(dtype) for x in "qk")
        hard = ft.ditflow(k, q, grid, best=True)
        out["ditflow.soft"] = ft.ditflow(q, k, grid).flip(-1)          # columns first, as DiTFlow has them
        out["ditflow.hard"] = hard.flip(-1)
        flow_case("ditflow", lambda q, k: ft.ditflow(q, k, grid), lambda x: ft.ditflow_mse(x, hard))

        def hidden_case(name, feature_of):
            hidden = inputs["hid"].to(dtype).requires_grad_(True)
            want = feature_of(inputs["hid_ref"].to(dtype))
            loss = (feature_of(hidden) - want).pow(2).mean()
            out.update({f"{name}.ref": want, f"{name}.loss": loss.detach(), f"{name}.grad": torch.autograd.grad(loss, hidden)[0]})

        hidden_case("smm", lambda x: ft.smm(x, side))
        channels = ft.moft_channels(inputs["hid_ref"].to(dtype), share)
        out["moft.channels"] = channels
        hidden_case("moft", lambda x: ft.moft(x, channels))
        return out

    store(folder, "features_b", inputs, {
        "kind": "features", "grid": "3x5x7", "heads": str(heads), "head_dim": str(dim), "span": str(span), "topk": str(top),
        "pool": str(side), "ratio": str(share)}, run)


# ------------------------------------------------------------------ the guided loop

GUIDED = {"block": 2, "span": 3, "tau": 1.0, "guided_steps": 2, "inner_steps": 3, "interval": 2, "lr_first": 0.003, "lr_last": 0.002,
          "steps": 3, "shift": 7.0, "strength": 0.75, "cfg_scale": 2.5, "window": 5, "tile": "2x3", "topk": 5, "pool": 2, "ratio": 0.25}


class Guided:
    """One method around the transformer: features(latent, t, text) and distance(features, reference)."""

    def __init__(self, method, dit, texts):
        self.method, self.dit, self.texts = method, dit, texts
        self.block = GUIDED["block"]

    def guided_velocity(self, x, t):
        v = self.dit.velocity(x, t, self.texts["text_pos"])
        n = self.dit.velocity(x, t, self.texts["text_neg"])
        return n + GUIDED["cfg_scale"] * (v - n)

    def features(self, x, t, is_reference):
        text = self.texts["text_null" if is_reference else "text_pos"]
        if self.method == "flowmotion":
            with torch.no_grad():
                v = self.dit.velocity(x, t, text) if is_reference else self.guided_velocity(x, t)
            return x - float(t) / 1000 * v
        if self.method in ("moft", "smm"):
            hidden = self.dit.hidden(x, t, text, self.block)
            if self.method == "smm":
                return ft.smm(hidden, GUIDED["pool"])
            if is_reference:
                self.channels = ft.moft_channels(hidden, GUIDED["ratio"])
            return ft.moft(hidden, self.channels)
        q, k, grid = self.dit.queries_keys(x, t, text, self.block)
        self.grid = grid
        if self.method == "ditflow":
            return ft.ditflow(q, k, grid, tau=GUIDED["tau"], best=is_reference)
        if self.method == "ditflow-10":
            return ft.dense(q, k, grid, ft.all_pairs(grid[0]), GUIDED["tau"])
        return ft.dense(q, k, grid, ft.near_pairs(grid[0], GUIDED["span"]), GUIDED["tau"], GUIDED["topk"])

    def distance(self, x, ref):
        if self.method == "flowmotion":
            return ft.flowmotion_distance(x, ref)
        if self.method in ("moft", "smm"):                             # a sum over the elements of a row
            return (x - ref).pow(2).flatten(1).sum(1).mean()
        if self.method == "ditflow":                                   # a sum over the components of a frame
            return 2 * x.shape[1] * ft.ditflow_mse(x, ref)
        if self.method == "ditflow-10":
            return ft.pair_distance(x, ref, torch.ones(x.shape[0]))
        return ft.pair_distance(x, ref, ft.near_weights(self.grid[0], GUIDED["span"], 0.8))

    def stored(self, features, frames, dim):
        """As a motion file holds them."""
        if self.method == "smm":                                       # cells, then channels
            return features.flatten(2).transpose(1, 2).reshape(frames - 1, -1)
        if self.method == "moft":
            whole = features.new_zeros(frames, dim)
            whole[:-1, self.channels] = features
            whole[-1, self.channels] = 1
            return whole
        return features


def adamw(x, g, state, lr):
    """AdamW with decay 0.01; state: moments and steps taken."""
    state["k"] += 1
    x = x * (1 - lr * 0.01)
    state["m"] = 0.9 * state["m"] + 0.1 * g
    state["v"] = 0.999 * state["v"] + 0.001 * g * g
    root = state["v"].sqrt() / (1 - 0.999 ** state["k"]) ** 0.5 + 1e-8
    return x - lr / (1 - 0.9 ** state["k"]) * state["m"] / root


def guided_case(folder, method, weights, config):
    g = torch.Generator().manual_seed(72)
    shape = (1, 16, 3, 8, 10)
    inputs = {"clean": randn(g, *shape), "noise": randn(g, *shape), "text_pos": randn(g, 1, 7, 48), "text_null": randn(g, 1, 1, 48),
              "text_neg": randn(g, 1, 9, 48)}
    c = GUIDED
    line = torch.linspace(c["strength"], 0, c["steps"] + 1)[:-1]
    sigmas = c["shift"] * line / (1 + (c["shift"] - 1) * line)
    times = sigmas * 1000

    def run(dtype):
        dit = DiT({k: v.to(dtype) for k, v in weights.items()}, config["heads"], config["eps"], config["text_len"])
        clean, noise = inputs["clean"][0].to(dtype), inputs["noise"][0].to(dtype)
        m = Guided(method, dit, {k: inputs[k][0].to(dtype) for k in ("text_pos", "text_null", "text_neg")})
        x, out = (1 - sigmas[0]) * clean + sigmas[0] * noise, {}
        for n in range(c["steps"]):
            if n < c["guided_steps"]:
                with torch.no_grad():
                    ref = m.features((1 - sigmas[n]) * clean + sigmas[n] * noise, times[n], True)
                    stored = m.stored(ref, shape[2], config["dim"])
                flows = method not in ("moft", "smm", "flowmotion")
                out[f"step{n}.{'flow_ref' if flows else 'features_ref'}"] = stored
                state = {"m": torch.zeros_like(x), "v": torch.zeros_like(x), "k": 0}
                for j in range(c["inner_steps"]):
                    if j % c["interval"] == 0:
                        y = x.clone().requires_grad_(True)
                        distance = m.distance(m.features(y, times[n], False), ref)
                        grad, = torch.autograd.grad(5 * distance, y)
                        d = distance.detach()
                        if j == 0:
                            out[f"step{n}.inner{j}.loss"] = torch.stack([d, 0 * d, 5 * d])
                            out[f"step{n}.inner{j}.grad"] = grad[None]
                    x = adamw(x, grad, state, c["lr_first"] - (c["lr_first"] - c["lr_last"]) * j / c["inner_steps"])
                out[f"step{n}.inner{j}.x"] = x[None]
            with torch.no_grad():
                x = x + m.guided_velocity(x, times[n]) * ((sigmas[n + 1] if n + 1 < c["steps"] else 0.0) - sigmas[n])
        out["final"] = x[None]
        return out

    meta = {k: str(v) for k, v in c.items()}
    meta.update(kind="guided", weights="guided_a.weights", variant="paper", method=method)
    store(folder, "guided_" + re.sub("-", "_", method), inputs, meta, run)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests/data/golden")
    torch.set_num_threads(1)
    features_case(folder)
    path = folder / "guided_a.weights.safetensors"
    with safe_open(path, "pt") as f:
        meta = f.metadata()
    config = {"heads": int(meta["heads"]), "eps": float(meta["eps"]), "text_len": int(meta["text_len"]), "dim": int(meta["dim"])}
    weights = load_file(path)
    for method in ("ditflow", "ditflow-10", "moft", "smm", "motionclone", "flowmotion"):
        guided_case(folder, method, weights, config)


if __name__ == "__main__":
    main()
