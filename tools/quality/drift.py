#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How far switches lead a transfer away from the exact one: final PSNR and cosine of the final latent, seconds and forwards.

usage: tools/quality/drift.py PROGRAM MODEL OUT "OPTIONS" ["OPTIONS" ...]   each argument one arm, beside `exact`
       tools/quality/drift.py PROGRAM MODEL OUT --velocity                  cosines of reused velocities instead
  tools/quality/drift.py build/release/fastvmt models/tiny build/drift "--cache 0.12" "--cfg-until 0.6" "--mode fast"
CLIPS (02_circle_key 05_wave_arrow 09_vertical_bottle) of demo/table, SEEDS (1); ARGS: further options of every run.
Needs nothing but Python; a build with sentencepiece and libav, or CLIPS as paths of Y4M files and ARGS="--embeddings FILE".
"""
import array, json, math, os, pathlib, shlex, struct, subprocess, sys

root = pathlib.Path(__file__).resolve().parents[2]


def tensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = head.pop("__metadata__", {})
    found = {}
    for name, t in head.items():
        if t["dtype"] == "F32":
            found[name] = array.array("f", data[slice(*t["data_offsets"])])
    return meta, found


def cosine(a, b):
    dot = lambda x, y: math.fsum(p * q for p, q in zip(x, y))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def psnr(a, b):
    x, y = pathlib.Path(a).read_bytes(), pathlib.Path(b).read_bytes()
    error = sum((p - q) ** 2 for p, q in zip(x, y) if p != q)
    return math.inf if not error else 10 * math.log10(255**2 * len(x) / error)


def clips():
    known = {c["file"].split(".")[0]: c for c in json.loads((root / "demo/table/clips.json").read_text())}
    for name in os.environ.get("CLIPS", "02_circle_key 05_wave_arrow 09_vertical_bottle").split():
        yield (str(root / "demo/table" / known[name]["file"]), known[name]["prompt"]) if name in known else (name, "")


def command(program, model, clip, prompt, seed, out, options):
    return [program, "transfer", "-m", model, "-r", clip, "-p", prompt, "--seed", seed, "-o", f"{out}.y4m", "--latent",
            f"{out}.latent", "-y", "--no-audio", "-q", *shlex.split(os.environ.get("ARGS", "")), *options]


def drift(program, model, out, arms):
    print("| options | clip, seed | PSNR, dB | latent's cosine | sampling, s | forwards | reused |\n" + "| --- " * 7 + "|")
    for clip, prompt in clips():
        for seed in os.environ.get("SEEDS", "1").split():
            for i, arm in enumerate(["", *arms]):
                name = str(out / f"arm{i}")
                subprocess.run(command(program, model, clip, prompt, seed, name, shlex.split(arm)), check=True)
                made = json.loads(pathlib.Path(name + ".y4m.json").read_text())
                near = (psnr(name + ".y4m", str(out / "arm0.y4m")),
                        cosine(tensors(name + ".latent")[1]["latent"], tensors(str(out / "arm0.latent"))[1]["latent"]))
                print(f"| {arm or 'exact'} | {pathlib.Path(clip).stem}, {seed} | {near[0]:.1f} | {near[1]:.5f} | "
                      f"{made['seconds']['sample']:.2f} | {made['forwards']} | {made['reused_forwards']} |", flush=True)


def velocities(program, model, out):
    """Of a run that computes every step: what a reused one would have taken, beside the computed one."""
    print("| clip, seed | steps since | level, mean | level, least | line, mean | line, least |\n" + "| --- " * 6 + "|")
    for clip, prompt in clips():
        for seed in os.environ.get("SEEDS", "1").split():
            state, seen, sigmas = str(out / "state"), {}, {}
            pathlib.Path(state).unlink(missing_ok=True)
            run = subprocess.Popen(command(program, model, clip, prompt, seed, str(out / "v"), [
                "--cache", "1e-9", "--checkpoint", "1", "--checkpoint-file", state, "--progress", "json"]),
                stderr=subprocess.PIPE, text=True)
            for line in run.stderr:
                if '"sample"' not in line or not os.path.exists(state):
                    continue
                meta, found = tensors(state)
                if "cache_step" in meta and int(meta["cache_step"]) not in seen:
                    i = int(meta["cache_step"])
                    n, shift, strength = int(meta["option.steps"]), float(meta["option.shift"]), float(meta["option.strength"])
                    u = strength * (1 - i / n)
                    seen[i], sigmas[i] = found["cache_velocity"], shift * u / (1 + (shift - 1) * u)
                    guided = int(meta.get("guided", 0))
            if run.wait():
                sys.exit("the run failed")
            for since in range(1, 5):
                level, line = [], []
                for i in range(guided + since, n):
                    j, k = i - since, i - 2 * since
                    if not {i, j} <= set(seen):
                        continue
                    level.append(cosine(seen[i], seen[j]))
                    if k >= guided - 1 and k in seen:
                        w = (sigmas[i] - sigmas[j]) / (sigmas[j] - sigmas[k])
                        line.append(cosine(seen[i], [a + w * (a - b) for a, b in zip(seen[j], seen[k])]))
                print(f"| {pathlib.Path(clip).stem}, {seed} | {since} | {sum(level) / len(level):.5f} | {min(level):.5f} | "
                      f"{sum(line) / len(line):.5f} | {min(line):.5f} |", flush=True)


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    program, model, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[4] == "--velocity":
        velocities(program, model, out)
    else:
        drift(program, model, out, sys.argv[4:])


if __name__ == "__main__":
    main()
