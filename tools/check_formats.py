# SPDX-License-Identifier: MIT
"""Small random models made, saved and run by the libraries whose formats they are; fastvmt's results beside theirs.

    python3 -m venv env && env/bin/pip install torch diffusers transformers safetensors gguf
    env/bin/python tools/check_formats.py build/release/fastvmt OUT [--fixtures tests/data/formats]

Prints a line per part and format: the largest difference, relative to the largest value.  Needs a developer's machine, not CI:
CI has the files that --fixtures wrote."""
import argparse
import json
import pathlib
import shutil
import subprocess

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

BACKEND = ["--backend", "ref", "--dtype", "f32"]
TEXT_ROWS = 512  # rows of the text after padding; the official checkpoints' and diffusers' number


def randomise(model, seed):
    """Weights of a plausible size: what the libraries start with is zero in places, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            fan_in = p[0].numel() if p.dim() > 1 else 1
            if name.endswith(("gamma",)) or (p.dim() == 1 and "norm" in name and name.endswith("weight")):
                p.copy_(1 + 0.2 * noise)
            elif name.endswith("bias") or "scale_shift_table" in name:
                p.copy_(0.2 * noise)
            elif "embed_tokens" in name or "shared" in name or "relative_attention_bias" in name:
                p.copy_(noise)
            else:
                p.copy_(noise / fan_in ** 0.5)
            p.copy_(p.to(torch.bfloat16).float())  # what is saved is what is run
    return model.eval()


def random(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write_case(folder, kind, weights, tensors, meta=None):
    """A case of `fastvmt probe` beside the weights."""
    meta = {"kind": kind, "weights": weights, **(meta or {})}
    if (folder / "config.json").exists():
        meta["config"] = "config.json"
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "case.safetensors", metadata=meta)


def compare(program, folder, what, lines):
    out = folder / "out.safetensors"
    subprocess.run([program, "probe", *BACKEND, folder / "case.safetensors", "-o", out], check=True)
    case, got = load_file(folder / "case.safetensors"), load_file(out)
    for name, expected in case.items():
        if name.startswith("out."):
            expected = expected.double()
            worst = (got[name].double() - expected).abs().max() / expected.abs().max()
            lines.append((what, name[4:], float(worst)))


# ---------------------------------------------------------------- the parts as their libraries run them

def run_transformer(model):
    x, t = random((1, 16, 3, 8, 8), 11), torch.tensor([437.0])
    text = torch.zeros(1, TEXT_ROWS, model.config.text_dim)
    text[:, :7] = random((1, 7, model.config.text_dim), 12)
    r = random(x.shape, 13)
    latent = x.clone().requires_grad_(True)
    velocity = model(hidden_states=latent, timestep=t, encoder_hidden_states=text, return_dict=False)[0]
    (velocity * r).sum().backward()
    return {"in.x": x, "in.t": t, "in.text": text[:, :7].clone(), "in.r_out": r,
            "out.velocity": velocity.detach(), "out.grad_velocity": latent.grad}


def run_vae(model):
    video, z = random((1, 3, 5, 24, 16), 21).clamp(-1, 1), random((1, 16, 2, 3, 2), 22)
    mean = torch.tensor(model.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(model.config.latents_std).view(1, -1, 1, 1, 1)
    with torch.no_grad():
        latent = (model.encode(video).latent_dist.mode() - mean) / std
        decoded = model.decode(z * std + mean, return_dict=False)[0]
    assert decoded.abs().max() < 1  # diffusers clamps, the probe does not
    return {"in.video0": video, "in.z0": z, "out.latent0": latent, "out.decoded0": decoded}


def run_text(model):
    ids = torch.randint(2, model.config.vocab_size, (1, 24), generator=torch.Generator().manual_seed(31))
    mask = torch.zeros_like(ids)
    mask[:, :9] = 1
    ids[:, 8], ids[:, 9:] = 1, 0
    with torch.no_grad():
        rows = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    return {"in.ids": ids, "in.mask": mask, "out.prompt": rows}


# ---------------------------------------------------------------- models

def make_transformer():
    return randomise(WanTransformer3DModel(num_attention_heads=2, attention_head_dim=16, text_dim=16, freq_dim=32,
                                           ffn_dim=48, num_layers=2), 1)


def make_vae():
    model = randomise(AutoencoderKLWan(base_dim=2), 2)
    with torch.no_grad():
        model.decoder.conv_out.weight *= 0.125
    return model


def make_text():
    config = UMT5Config(vocab_size=96, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=4, is_encoder_decoder=False)
    return randomise(UMT5EncoderModel(config), 3)


def check_diffusers(program, out, lines):
    parts = {"transformer": (make_transformer(), run_transformer, "dit"),
             "vae": (make_vae(), run_vae, "vae"),
             "text_encoder": (make_text(), run_text, "umt5")}
    for name, (model, run, kind) in parts.items():
        folder = out / "diffusers" / name
        tensors, meta = run(model), {"block": "0"} if kind == "dit" else {}
        model.to(torch.bfloat16).save_pretrained(folder, **({"max_shard_size": "50KB"} if name == "transformer" else {}))
        index = sorted(folder.glob("*.index.json"))
        weights = (index or sorted(folder.glob("*.safetensors")))[0].name
        write_case(folder, kind, weights, tensors, meta)
        compare(program, folder, f"diffusers' {name}" if kind != "umt5" else "transformers' text_encoder", lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--fixtures", type=pathlib.Path)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    lines = []
    check_diffusers(args.program.resolve(), args.out, lines)
    for what, tensor, worst in lines:
        print(f"{what:40} {tensor:16} {worst:.2e}")
    if args.fixtures:
        copy_fixtures(args.out, args.fixtures)


def copy_fixtures(out, fixtures):
    shutil.rmtree(fixtures, ignore_errors=True)
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != "out.safetensors":
            target = fixtures / path.relative_to(out)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


if __name__ == "__main__":
    main()
