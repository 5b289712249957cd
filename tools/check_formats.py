# SPDX-License-Identifier: MIT
"""Small random models made, saved and run by the libraries whose formats they are; fastvmt's results beside theirs.

    python3 -m venv env && env/bin/pip install torch diffusers peft transformers safetensors gguf comfy-kitchen==0.2.7
    env/bin/python tools/check_formats.py build/release/fastvmt OUT [--fixtures tests/data/formats]

Prints a line per part and format: the largest difference, relative to the largest value.  Needs a developer's machine, not CI:
CI has the files that --fixtures wrote."""
import argparse
import pathlib
import re
import shutil
import subprocess

import gguf
import numpy as np
import torch
from comfy_kitchen.tensor import QuantizedTensor, TensorCoreFP8Layout
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
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


def write_case(folder, kind, weights, tensors, meta=None, name="case"):
    """A case of `fastvmt probe` beside the weights."""
    meta = {"kind": kind, "weights": weights, **(meta or {})}
    if (folder / "config.json").exists():
        meta["config"] = "config.json"
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors", metadata=meta)


def compare(program, folder, what, lines, name="case"):
    out = folder / "out.safetensors"
    subprocess.run([program, "probe", *BACKEND, folder / f"{name}.safetensors", "-o", out], check=True)
    case, got = load_file(folder / f"{name}.safetensors"), load_file(out)
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


# ---------------------------------------------------------------- names: from the libraries' to the official and llama.cpp's

OFFICIAL_DIT = [("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
                ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
                ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
                ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
                ("condition_embedder.time_proj", "time_projection.1"), ("proj_out", "head.head"),
                (r"^scale_shift_table", "head.modulation"), ("scale_shift_table", "modulation"),
                (r"\.norm2\.", ".norm3."), ("attn1", "self_attn"), ("attn2", "cross_attn"), (r"to_out\.0", "o"),
                (r"to_([qkv])\.", r"\1."), (r"ffn\.net\.0\.proj", "ffn.0"), (r"ffn\.net\.2", "ffn.2")]
LLAMA_T5 = [("shared", "token_embd"), (r"encoder\.final_layer_norm", "enc.output_norm"), (r"encoder\.block", "enc.blk"),
            (r"layer\.0\.SelfAttention\.relative_attention_bias", "attn_rel_b"),
            (r"layer\.0\.SelfAttention\.([qkvo])\.", r"attn_\1."), (r"layer\.0\.layer_norm", "attn_norm"),
            (r"layer\.1\.layer_norm", "ffn_norm"), (r"layer\.1\.DenseReluDense\.wi_0", "ffn_gate"),
            (r"layer\.1\.DenseReluDense\.wi_1", "ffn_up"), (r"layer\.1\.DenseReluDense\.wo", "ffn_down")]


def renamed(name, rules):
    for pattern, text in rules:
        name = re.sub(pattern, text, name)
    return name


# ---------------------------------------------------------------- GGUF

def write_gguf(path, model, arch, rules, types):
    """Matrices in turn of `types`, all else F32 (BF16 one vector); the model then has the values that were written."""
    writer = gguf.GGUFWriter(path, arch)
    matrices = 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name == "encoder.embed_tokens.weight":
                continue
            data, kind = p.detach().numpy().astype(np.float32), gguf.GGMLQuantizationType.F32
            if p.dim() == 2 and "relative_attention_bias" not in name:
                kind = types[matrices % len(types)]
                matrices += 1
            packed = gguf.quantize(data, kind)
            p.copy_(torch.from_numpy(gguf.dequantize(packed, kind).reshape(p.shape).copy()))
            writer.add_tensor(renamed(name, rules), packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_gguf(program, out, lines):
    kinds = gguf.GGMLQuantizationType
    transformer = randomise(WanTransformer3DModel(num_attention_heads=2, attention_head_dim=16, text_dim=32, freq_dim=32,
                                                  ffn_dim=64, num_layers=2), 4)
    config = UMT5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, is_encoder_decoder=False)
    parts = {"transformer": (transformer, run_transformer, "dit", "wan", OFFICIAL_DIT, [kinds.Q8_0, kinds.Q4_0, kinds.BF16, kinds.F16]),
             "text_encoder": (randomise(UMT5EncoderModel(config), 5), run_text, "umt5", "t5encoder", LLAMA_T5,
                              [kinds.Q8_0, kinds.Q4_0])}
    for name, (model, run, kind, arch, rules, types) in parts.items():
        folder = out / "gguf" / name
        folder.mkdir(parents=True)
        write_gguf(folder / "model.gguf", model, arch, rules, types)
        if kind == "dit":
            model.save_config(folder)
        write_case(folder, kind, "model.gguf", run(model), {"block": "0"} if kind == "dit" else {})
        compare(program, folder, f"gguf {name}: {', '.join(t.name for t in types)}", lines)


# ---------------------------------------------------------------- ComfyUI

def round_fp8(p, scaled):
    """The 8-bit floats and the factor; the parameter then has their values."""
    factor = (p.abs().max() / 448).float() if scaled else torch.tensor(1.0)
    packed = (p / factor).to(torch.float8_e4m3fn)
    p.copy_(packed.float() * factor)
    return packed, factor


def check_comfy(program, out, lines):
    transformer, text = make_transformer(), make_text()
    folders = [out / "comfy" / "transformer", out / "comfy" / "text_encoder"]
    tensors = {"model.diffusion_model.scaled_fp8": torch.empty(2).to(torch.float8_e4m3fn)}
    with torch.no_grad():
        for name, p in transformer.named_parameters():
            name = "model.diffusion_model." + renamed(name, OFFICIAL_DIT)
            if p.dim() != 2:
                tensors[name] = p.detach().to(torch.bfloat16)
                continue
            tensors[name], factor = round_fp8(p, True)
            tensors[name.replace(".weight", ".scale_weight")] = factor
            tensors[name.replace(".weight", ".scale_input")] = torch.tensor(1.0)
        encoder = {name: round_fp8(p, False)[0] for name, p in text.named_parameters()}
    encoder["spiece_model"] = torch.zeros(7, dtype=torch.uint8)
    for folder in folders:
        folder.mkdir(parents=True)
    save_file(tensors, folders[0] / "model.safetensors")
    save_file(encoder, folders[1] / "model.safetensors")
    transformer.save_config(folders[0])
    write_case(folders[0], "dit", "model.safetensors", run_transformer(transformer), {"block": "0"})
    write_case(folders[1], "umt5", "model.safetensors", run_text(text))
    compare(program, folders[0], "fp8_scaled transformer", lines)
    compare(program, folders[1], "fp8_e4m3fn text_encoder", lines)


def comfy_values(path):
    """What ComfyUI computes with: its reader takes the mark, a factor of one number beside each matrix (comfy/utils.py,
    convert_old_quants), and its library widens the pair."""
    tensors = load_file(path)
    mark = tensors.pop("scaled_fp8")
    assert mark.numel() == 2 and mark.dtype == torch.float8_e4m3fn
    for name in [n for n in tensors if n.endswith(".scale_weight")]:
        factor, weight = tensors.pop(name), name.replace(".scale_weight", ".weight")
        assert factor.dim() == 0 and tensors[weight].dtype == torch.float8_e4m3fn
        layout = TensorCoreFP8Layout.Params(scale=factor, orig_dtype=torch.float32, orig_shape=tuple(tensors[weight].shape))
        tensors[weight] = QuantizedTensor(tensors[weight], "TensorCoreFP8Layout", layout).dequantize()
    return {name: tensor.float() for name, tensor in tensors.items()}


def check_converted(program, out, lines):
    """Our 8 bits for ComfyUI, in its hands and in ours."""
    folder, transformer = out / "converted", make_transformer()
    folder.mkdir(parents=True)
    transformer.save_config(folder)
    index = sorted((out / "diffusers" / "transformer").glob("*.index.json"))[0]
    subprocess.run([program, "convert", index, "-o", folder / "model.safetensors", "--type", "fp8_scaled", "-q"], check=True)
    values = comfy_values(folder / "model.safetensors")
    with torch.no_grad():
        for name, p in transformer.named_parameters():
            p.copy_(values.pop(renamed(name, OFFICIAL_DIT)))
    assert not values, values.keys()
    write_case(folder, "dit", "model.safetensors", run_transformer(transformer), {"block": "0"})
    compare(program, folder, "convert --type fp8_scaled", lines)
    shutil.rmtree(folder)


def write_blocks(out):
    """Random blocks of every type in a GGUF file, and what Python's gguf reads in them."""
    generator, expected = np.random.default_rng(6), {}
    writer = gguf.GGUFWriter(out / "blocks.gguf", "wan")
    writer.add_uint32("fastvmt.answer", 42)
    writer.add_array("a.list", ["x", "y"])
    for kind in ("Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16", "F32"):
        kind = gguf.GGMLQuantizationType[kind]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        shape = (4, 512 // elements * size)
        data = generator.integers(0, 256, shape, dtype=np.uint8)
        blocks = data.reshape(-1, size)
        for at in {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q8_0": (0,), "Q4_0": (0,)}.get(kind.name, ()):
            scale = generator.normal(0, 0.1, len(blocks)).astype(np.float16)  # no NaN among the scales
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
        if elements == 1:
            data = gguf.quantize(generator.normal(0, 1, (4, 512)).astype(np.float32), kind)
            data = data.view(np.uint8).reshape(4, -1)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        typed = {"F16": np.float16, "F32": np.float32}.get(kind.name)
        values = data.view(typed) if typed else data
        expected[kind.name] = torch.from_numpy(gguf.dequantize(values, kind).astype(np.float32).reshape(4, 512).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, out / "blocks.safetensors")


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


# ---------------------------------------------------------------- LoRA

MATRICES = ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0",
            "ffn.net.0.proj", "ffn.net.2"]
LORA_WEIGHT = 0.75


def lora_tensors(model, rank, seed, module_name, ends, alpha=None, bias=None, more=()):
    """Random pairs for every matrix of the blocks, under the names of a style."""
    tensors = {}
    for i, module in enumerate([f"blocks.{b}.{m}" for b in range(model.config.num_layers) for m in MATRICES] + list(more)):
        out, in_ = model.get_submodule(module).weight.shape
        name = module_name(module)
        tensors[f"{name}.{ends[0]}"] = random((rank, in_), seed + 10 * i) / in_ ** 0.5
        tensors[f"{name}.{ends[1]}"] = random((out, rank), seed + 10 * i + 1) / rank ** 0.5
        if alpha and module not in more:  # diffusers reads no alpha but the blocks'
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
        if bias:
            tensors[f"{name}.{bias}"] = 0.2 * random((out,), seed + 10 * i + 2)
    return tensors


def official(module):
    return renamed(module + ".", OFFICIAL_DIT)[:-1]


def write_lora_of_peft(model, folder):
    """As diffusers' training scripts do: an adapter of PEFT, saved with the pipeline's writer."""
    config = LoraConfig(r=3, lora_alpha=5, target_modules=[m for m in MATRICES] + ["proj_out", "time_proj"])
    model.add_adapter(config)
    with torch.no_grad():
        for i, (name, p) in enumerate(p for p in model.named_parameters() if "lora_" in p[0]):
            p.copy_(random(p.shape, 900 + i) / p.shape[1] ** 0.5)
    WanPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(model), weight_name="diffusers.lora.safetensors",
                                  transformer_lora_adapter_metadata=config.to_dict() | {"target_modules": sorted(config.target_modules)})
    model.unload_lora()


def check_lora(program, out, lines):
    folder = out / "lora"
    folder.mkdir(parents=True)
    make_transformer().to(torch.bfloat16).save_pretrained(folder)
    down_up = ("lora_down.weight", "lora_up.weight")
    model = make_transformer()
    write_lora_of_peft(model, folder)
    save_file(lora_tensors(model, 4, 500, lambda m: "lora_unet_" + official(m).replace(".", "_"), down_up, alpha=2.0),
              folder / "musubi.lora.safetensors")
    save_file(lora_tensors(model, 2, 700, lambda m: "diffusion_model." + official(m), down_up, alpha=3.0, bias="diff_b",
                           more=["proj_out", "condition_embedder.time_proj", "condition_embedder.text_embedder.linear_1",
                                 "condition_embedder.text_embedder.linear_2"]), folder / "comfy.lora.safetensors")
    for style in ("diffusers", "musubi", "comfy"):
        model, file = make_transformer(), f"{style}.lora.safetensors"
        layers, meta = WanPipeline.lora_state_dict(str(folder), weight_name=file, return_lora_metadata=True)
        model.load_lora_adapter(layers, prefix="transformer", adapter_name="a", metadata=meta)
        model.set_adapters(["a"], [LORA_WEIGHT])
        write_case(folder, "dit", "diffusion_pytorch_model.safetensors", run_transformer(model),
                   {"block": "0", "lora": file, "lora_weight": str(LORA_WEIGHT)}, style)
        compare(program, folder, f"LoRA, {style}", lines, style)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--fixtures", type=pathlib.Path)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    lines = []
    check_diffusers(args.program.resolve(), args.out, lines)
    check_gguf(args.program.resolve(), args.out, lines)
    write_blocks(args.out / "gguf")
    check_comfy(args.program.resolve(), args.out, lines)
    check_converted(args.program.resolve(), args.out, lines)
    check_lora(args.program.resolve(), args.out, lines)
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
