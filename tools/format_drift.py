# SPDX-License-Identifier: MIT
"""What each type of weights changes, on the bundled model: velocity, motion and the finished video beside those of its BF16 weights.

    env/bin/python tools/format_drift.py build/release/fastvmt OUT      (needs numpy, safetensors)

A row per type: size; largest and RMS difference of the velocity (units of its RMS); mean cosine of the motion field's vectors;
PSNR of the video (transfer of demo/refs/07_swing.mkv, 160x96, 33 frames, the model's own settings, seed 1)."""
import pathlib
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL, CLIP = ROOT / "models/tiny", ROOT / "demo/refs/07_swing.mkv"
TYPES = ("bf16", "f16", "fp8", "fp8_scaled", "q8_0", "q4_k")


def run(program, *args):
    subprocess.run([program, *map(str, args)], check=True)


def frames(path):
    """The planes of a y4m file, one row."""
    data = path.read_bytes()
    head = data.index(b"\n") + 1
    width, height = (int(word[1:]) for word in data[:head].split() if word[:1] in b"WH" and word[1:].isdigit())
    size = (len(data) - head) // (width * height * 3 + 6)  # 4:4:4, as written here
    return np.frombuffer(data[head:], np.uint8).reshape(size, -1)[:, 6:].astype(np.float64)


def measure(program, out, kind, weights):
    """Velocity, flows and frames with these weights."""
    rng = np.random.default_rng(1)
    save_file({"in.x": rng.normal(size=(1, 16, 9, 12, 20)).astype(np.float32), "in.t": np.array([500], np.float32),
               "in.text": rng.normal(size=(1, 8, 128)).astype(np.float32)}, out / "case.safetensors",
              metadata={"kind": "dit", "block": "4", "weights": weights.name})
    run(program, "probe", out / "case.safetensors", "-o", out / "probe.safetensors", "-y", "--backend", "cpu", "--dtype", "f32")
    run(program, "extract", "-m", MODEL, "--dit", weights, "-r", CLIP, "-o", out / "motion.fvm", "-y", "-q", "--ref-seed", "1")
    run(program, "transfer", "-m", MODEL, "--dit", weights, "-r", CLIP, "-p", "a pumpkin on snow", "-o", out / "video.y4m", "-y", "-q",
        "--seed", "1")
    return (load_file(out / "probe.safetensors")["out.velocity"].astype(np.float64),
            load_file(out / "motion.fvm")["flows"].astype(np.float64), frames(out / "video.y4m"))


def main():
    program, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    base = None
    print("type       bytes      velocity: RMS, largest   flow cosine   video PSNR")
    for kind in TYPES:
        weights = out / f"dit-{kind}.{'gguf' if kind[0] == 'q' else 'safetensors'}"
        run(program, "convert", MODEL / "dit.safetensors", "-o", weights, "--type", kind, "-y", "-q")
        velocity, flows, video = measure(program, out, kind, weights)
        base = base or (velocity, flows, video)
        gap, rms = velocity - base[0], np.sqrt((base[0] ** 2).mean())
        long = (np.linalg.norm(base[1], axis=-1) > 0.25) & (np.linalg.norm(flows, axis=-1) > 0)
        cosine = ((flows * base[1]).sum(-1)[long] /
                  (np.linalg.norm(flows, axis=-1) * np.linalg.norm(base[1], axis=-1))[long]).mean()
        error = ((video - base[2]) ** 2).mean()
        psnr = 10 * np.log10(255 ** 2 / error) if error else np.inf
        print(f"{kind:10} {weights.stat().st_size:9}  {np.sqrt((gap ** 2).mean()) / rms:.2e} {abs(gap).max() / rms:.2e}"
              f"   {cosine:.6f}   {psnr:.1f} dB", flush=True)


if __name__ == "__main__":
    main()
