# SPDX-License-Identifier: MIT
"""A whole transformer in each type of GGUF beside the same values as F32, which the gguf package made of it.

    python3 -m venv env && env/bin/pip install gguf safetensors numpy
    env/bin/python tools/check_gguf_types.py build/release/fastvmt models/tiny OUT

Matrices of the blocks are quantised by the gguf package; it writes no Q4_K, Q5_K and Q6_K, whose blocks are random bits with scales of the
model's size.  Prints the largest difference of velocity and gradient, in units of the largest value."""
import pathlib
import subprocess
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

RNG = np.random.default_rng(1)


def random_blocks(shape, kind, scale):
    """[rows, bytes]: each block's two scales (Q6_K: one, and 16 small ones) are finite, all other bits random."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape)) // elements
    blocks = RNG.integers(0, 256, (count, size), dtype=np.uint8)

    def put(at, value):
        blocks[:, at:at + 2] = np.full(count, value, np.float16).view(np.uint8).reshape(count, 2)

    if kind == T.Q6_K:
        blocks[:, 192:208] = RNG.integers(-8, 8, (count, 16)).astype(np.int8).view(np.uint8)
        put(208, scale / 100)
    else:
        put(0, scale / 250)
        put(2, scale / 60)
    return blocks.reshape(shape[0], -1)


def write_pair(out, kind, weights, meta):
    """KIND.gguf and KIND.safetensors, of equal values."""
    writer, values = gguf.GGUFWriter(out / f"{kind.name}.gguf", "wan"), {}
    for key, value in meta.items():
        writer.add_string("fastvmt." + key, value)
    for name, w in weights.items():
        if not (name.startswith("blocks") and w.ndim == 2 and w.shape[1] % 256 == 0):
            values[name] = w
            writer.add_tensor(name, w.reshape(-1, *w.shape[2:]) if w.ndim == 5 else w)  # at most four axes
            continue
        made_up = kind in (T.Q4_K, T.Q5_K, T.Q6_K)
        data = random_blocks(w.shape, kind, 2 * float(w.std())) if made_up else gguf.quantize(w, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        values[name] = gguf.dequantize(data, kind).astype(np.float32).reshape(w.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(values, out / f"{kind.name}.safetensors", metadata=meta)


def probe(program, out, weights, inputs):
    result = out / "out.safetensors"
    result.unlink(missing_ok=True)
    save_file(inputs, out / "case.safetensors", metadata={"kind": "dit", "weights": weights, "block": "0"})
    subprocess.run([program, "probe", "--backend", "ref", "--dtype", "f32", out / "case.safetensors", "-o", result], check=True)
    return load_file(result)


def main():
    program, model, out = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
    out.mkdir(parents=True)
    subprocess.run([program, "convert", model / "dit.safetensors", "-o", out / "f16.safetensors", "--type", "f16", "-q"], check=True)
    with safe_open(out / "f16.safetensors", "np") as file:
        meta, weights = file.metadata(), {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
    channels, text_dim = weights["patch_embedding.weight"].shape[1], weights["text_embedding.0.weight"].shape[1]
    normal = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
    x = normal(1, channels, 2, 4, 4)
    inputs = {"in.x": x, "in.t": np.array([437], np.float32), "in.text": normal(1, 5, text_dim), "in.r_out": normal(*x.shape),
              "out.velocity": 0 * x, "out.grad_velocity": 0 * x}
    for kind in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_K, T.Q5_K, T.Q6_K):
        write_pair(out, kind, weights, meta)
        ours, theirs = (probe(program, out, f"{kind.name}.{end}", inputs) for end in ("gguf", "safetensors"))
        for name in ("out.velocity", "out.grad_velocity"):
            expected = theirs[name]
            print(f"{kind.name:5} {name[4:]:14} {np.abs(ours[name] - expected).max() / np.abs(expected).max():.2e}")


main()
