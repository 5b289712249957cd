# SPDX-License-Identifier: MIT
"""Writes the seeds of tests/fuzz/corpus: small valid files of each kind.

    python3 tools/make_fuzz_seeds.py [PROGRAM]

With the program (build/release/fastvmt) also what it writes itself, and with ffmpeg small videos."""
import collections
import functools
import io
import json
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import types
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/fuzz/corpus"


def write(folder, name, data):
    path = ROOT / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def small_values(dtype, count):
    """Numbers a computation stays finite with; ids of any vocabulary."""
    if dtype == "F32":
        return struct.pack(f"<{count}f", *((i % 7 - 3) / 4 for i in range(count)))
    return struct.pack(f"<{count}q", *[1] * count) if dtype == "I64" else bytes(count)


def safetensors(tensors, meta=None, values=None):
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8, "I32": 4, "I64": 8, "U8": 1, "F8_E4M3": 1}
    header, data = {}, b""
    if meta:
        header["__metadata__"] = meta
    for name, dtype, shape in tensors:
        count = sizes[dtype]
        for side in shape:
            count *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + count]}
        data += values(dtype, count // sizes[dtype]) if values else bytes(i % 251 for i in range(count))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def gguf(tensors, data, shapes=()):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2 + len(shapes))
    out += text("general.architecture") + struct.pack("<I", 8) + text("wan")
    out += text("fastvmt.eps") + struct.pack("<If", 6, 1e-6)
    for key, shape in shapes:
        out += text(key) + struct.pack("<IIQ", 9, 5, len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
    for name, kind, shape, offset in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return out + bytes(-len(out) % 32) + bytes(i % 7 for i in range(data))


def torch_module():
    """Names that torch's pickles mention; pickling asks only where they live."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*args):
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "BFloat16Storage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    return torch, _rebuild_tensor_v2


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    def __init__(self, storage, offset, shape, rebuild):
        self.storage, self.offset, self.shape, self.rebuild = storage, offset, shape, rebuild

    def __reduce__(self):
        strides, step = [], 1
        for side in reversed(self.shape):
            strides.insert(0, step)
            step *= side
        return self.rebuild, (self.storage, self.offset, tuple(self.shape), tuple(strides), False,
                              collections.OrderedDict())


class TorchPickler(pickle.Pickler):
    def persistent_id(self, item):
        if isinstance(item, Storage):
            return "storage", item.kind, item.key, "cpu", item.count
        return None


def pth(compressed=False):
    torch, rebuild = torch_module()
    first = Storage(torch.FloatStorage, "0", 12)
    second = Storage(torch.BFloat16Storage, "1", 6)
    state = collections.OrderedDict(
        [("a.weight", Tensor(first, 0, [3, 2], rebuild)), ("a.bias", Tensor(first, 6, [6], rebuild)),
         ("b.weight", Tensor(second, 0, [1, 2, 3], rebuild))])
    text = io.BytesIO()
    TorchPickler(text, protocol=2).dump(state)
    archive = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w", kind) as out:
        for name, data in (("data.pkl", text.getvalue()), ("byteorder", b"little"), ("data/0", bytes(48)),
                           ("data/1", bytes(range(12))), ("version", b"3\n")):
            out.writestr(zipfile.ZipInfo("m/" + name), data, compress_type=kind)
    return archive.getvalue()


def field(number, kind, value):
    def varint(n):
        out = b""
        while True:
            out += bytes([n & 127 | (128 if n > 127 else 0)])
            n >>= 7
            if not n:
                return out
    head = varint(number << 3 | kind)
    if kind == 0:
        return head + varint(value)
    if kind == 5:
        return head + struct.pack("<f", value)
    return head + varint(len(value)) + value


def spiece():
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    pieces += [(text, -1.0 - i / 7, 1) for i, text in enumerate(["\u2581", "\u2581a", "\u2581red", "car", "r", "e", "d", "\u4e00"])]
    model = b""
    for text, score, kind in pieces:
        model += field(1, 2, field(1, 2, text.encode()) + field(2, 5, score) + field(3, 0, kind))
    trainer = field(3, 0, 1) + field(40, 0, 2) + field(41, 0, 3) + field(42, 0, 1) + field(43, 0, 0)
    normalizer = field(1, 2, b"identity") + field(3, 0, 1) + field(4, 0, 1) + field(5, 0, 1)
    return model + field(2, 2, trainer) + field(3, 2, normalizer)


def probe():
    """Cases of each kind, as small as they may be."""
    case = functools.partial(safetensors, values=small_values)
    amf = {"kind": "amf", "grid": "2x2x3", "heads": "1", "head_dim": "2", "window": "3", "tile": "2x2", "span": "2", "tau": "1.0"}
    write("probe", "adamw", case([("in.x", "F32", [3]), ("in.g", "F32", [2, 3])], {
        "kind": "adamw", "lr_first": "0.003", "lr_last": "0.002", "beta1": "0.9", "beta2": "0.999", "eps": "1e-8",
        "weight_decay": "0.01"}))
    write("probe", "amf", case([("in.q", "F32", [1, 12, 1, 2]), ("in.k", "F32", [1, 12, 1, 2]),
                                       ("in.ref", "F32", [3, 6, 2])], amf))
    write("probe", "shift", case(
        [("in.qk", "F32", [2, 2, 3, 2]), ("in.want", "I64", [3, 6, 2]), ("in.counted", "I64", [3, 6])],
        {**amf, "kind": "shift"}))
    write("probe", "features", case(
        [("in.q", "F32", [1, 12, 2, 2]), ("in.k", "F32", [1, 12, 2, 2]), ("in.hid_ref", "F32", [2, 2, 3, 4]),
         ("in.hid", "F32", [2, 2, 3, 4]), ("in.ref", "F32", [3, 6, 2])],
        {"kind": "features", "grid": "2x2x3", "heads": "2", "head_dim": "2", "span": "2", "topk": "2", "pool": "2", "ratio": "0.5"}))
    write("probe", "rng", case([("randn.7.20", "F32", [20]), ("raw.3", "F32", [4]), ("big", "F32", [2])], {"kind": "rng"}))
    write("probe", "samplers", case([("in.x", "F32", [2, 2]), ("in.a", "F32", [2, 2])], {
        "kind": "samplers", "flow0": "steps 3, shift 7.0, strength 0.75", "unipc0": "steps 3, shift 5.0",
        "dpmpp0": "steps 3, shift 5.0"}))
    write("probe", "dit", case([("in.x", "F32", [1, 16, 1, 2, 2]), ("in.text", "F32", [1, 2, 24]), ("in.t", "F32", [1])], {
        "kind": "dit", "block": "1", "weights": "dit_b.weights"}))
    write("probe", "vae", case([("in.video0", "F32", [1, 3, 1, 8, 8]), ("in.z0", "F32", [1, 16, 1, 1, 1])],
                                      {"kind": "vae", "weights": "vae_a.weights"}))
    write("probe", "vae_tiled", case([("in.z", "F32", [1, 16, 1, 2, 2])], {
        "kind": "vae_tiled", "weights": "vae_a.weights", "tile": "2x2", "stride": "1x1"}))
    write("probe", "umt5", case([("in.ids", "I64", [1, 4]), ("in.mask", "I64", [1, 4])],
                                       {"kind": "umt5", "weights": "umt5_a.weights"}))
    guided = {"kind": "guided", "weights": "guided_a.weights", "variant": "paper", "block": "1", "window": "3", "tile": "1x1",
              "span": "2", "tau": "1.0", "guided_steps": "1", "inner_steps": "1", "interval": "1", "lr_first": "0.003",
              "lr_last": "0.002", "steps": "1", "shift": "7.0", "strength": "0.75", "cfg_scale": "5.8"}
    latent, text = [1, 16, 2, 2, 2], [1, 2, 48]
    write("probe", "guided", case(
        [("in.clean", "F32", latent), ("in.noise", "F32", latent), ("in.text_pos", "F32", text), ("in.text_neg", "F32", text),
         ("in.text_null", "F32", text)], guided))
    write("probe", "pipeline", case(
        [("in.frames", "U8", [1, 32, 32, 3]), ("in.noise", "F32", [1, 16, 1, 4, 4]), ("in.ids_pos", "I64", [1, 3]),
         ("in.ids_neg", "I64", [1, 3]), ("in.ids_null", "I64", [1, 3])],
        {**guided, "kind": "pipeline", "dit": "guided_a.weights", "vae": "vae_a.weights", "text": "umt5_a.weights"}))


def command_lines():
    write("args", "transfer", "\n".join("transfer -m DIR -r a.mkv --start 3 --stride=2 -p x -o out.mp4 --steps 9 --size 64x48 "
                                        "--cfg 5.5 --amf-tile 2x3 --seed 18446744073709551615 --preset tiny -q".split()))
    write("args", "extract", "extract\n-m\nDIR\n--fit\npad\n--guide-until\n0.3\n--variant\nreleased\n--threads\n2")
    write("args", "info", "info\n--\n-x\n")
    write("args", "typo", "generate\n--setps\n4")
    write("result", "transfer", json.dumps({
        "program": "fastvmt", "version": "0.1.0", "command": "transfer", "settings": {"prompt": "it's", "steps": 3, "negative": ""},
        "files": {"model": "a b", "output": "out.mp4"}, "seconds": {"text": 0.5}}))
    write("result", "foreign", '{"program": "other"}')
    picture = lambda k: b"P6\n3 2\n255\n" + bytes((k + i) % 256 for i in range(18))
    write("pictures", "pattern", b"00.ppm\n" + picture(0) + b"\n--\n01.ppm\n" + picture(9) + b"\n--\n02.ppm\n" + picture(20))
    write("pictures", "sizes", b"a.PPM\n" + picture(0) + b"\n--\nb.jpg\nP6 2 2 255\n" + bytes(12))


def records(program):
    """What a run leaves behind, by the tiny models that fuzz_record opens."""
    golden = ROOT.parent.parent / "data/golden"
    model = ["--dit", golden / "guided_a.weights.safetensors", "--vae", golden / "vae_a.weights.safetensors",
             "--text", golden / "umt5_a.weights.safetensors"]
    run = ["--preset", "tiny", "--steps", "2", "--guided-steps", "1", "--inner-steps", "2", "--block", "2", "--backend", "ref", "-q"]
    write("record", "embeddings", safetensors([(name, "F32", [2, 48]) for name in ("prompt", "negative", "null")], None, small_values))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        clip = folder / "clip.y4m"
        clip.write_bytes(b"YUV4MPEG2 W16 H16 F16:1 C444\n" + b"".join(
            b"FRAME\n" + bytes((i + 9 * t) % 200 + 20 for i in range(768)) for t in range(5)))
        texts = ["--embeddings", ROOT / "record/embeddings"]
        where = lambda name: ["-o", folder / name]
        call = lambda *words: subprocess.run([program, *words], check=True)
        call("encode", *model, "-r", clip, *where("latent"), *run)
        call("extract", *model, "-r", clip, *where("motion"), *run, *texts)
        call("transfer", *model, "-r", clip, *where("out.y4m"), *run, *texts, "--checkpoint", "1",
             "--checkpoint-file", folder / "state")
        call("generate", *model, *where("gen.y4m"), *run, *texts, "--checkpoint", "1", "--checkpoint-file", folder / "state_generate",
             "--size", "16x16", "--frames", "5")
        for name in ("latent", "motion", "state", "state_generate"):
            write("record", name, (folder / name).read_bytes())


def videos():
    kinds = {"h264.mp4": "-c:v libx264 -pix_fmt yuv420p", "ffv1.mkv": "-c:v ffv1", "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
             "vp9.webm": "-c:v libvpx-vp9", "anim.gif": "", "one.png": "-frames:v 1 -update 1", "mpeg4.mov": "-c:v mpeg4",
             "ten.mkv": "-c:v libx264 -pix_fmt yuv420p10le", "ts.ts": "-c:v mpeg2video", "rgb.nut": "-c:v rawvideo -pix_fmt rgb24"}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in kinds.items():
            path = pathlib.Path(folder) / name
            subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=16x12:rate=8", "-frames:v", "3",
                            *options.split(), "-fflags", "+bitexact", "-flags", "+bitexact", path], check=True)
            write("video", name, path.read_bytes())


def main():
    probe()
    command_lines()
    if len(sys.argv) > 1:
        records(sys.argv[1])
    if shutil.which("ffmpeg"):
        videos()
    write("safetensors", "mixed", safetensors(
        [("a", "F32", [2, 3]), ("b.weight", "BF16", [4]), ("c", "F16", []), ("d", "I64", [2]), ("e", "U8", [0, 3]),
         ("f", "F64", [1, 1, 1, 1, 2]), ("g", "I32", [1])], {"kind": "dit", "dim": "64", "eps": "1e-06"}))
    write("safetensors", "one", safetensors([("x", "F32", [1])]))
    write("safetensors", "none", safetensors([]))
    write("safetensors", "rank", safetensors([("x", "F32", [1, 1, 1, 1, 1, 1])]))
    write("motion_field", "small", safetensors(
        [("clean", "F32", [2, 3, 4, 6]), ("flows", "F32", [2, 5, 6, 2])],
        {"format": "fastvmt-motion", "format_version": "1", "width": "45", "height": "30", "frames": "4",
         "fps": "16", "grid": "3x2x3", "frames_per_latent": "2", "guided": "2", "flow_count": "2", "pairs": "5",
         "method": "fastvmt", "feature": "amf", "attention": "full", "option.fps": "0",
         "option.variant": "paper", "option.max-frame-gap": "2"}))
    write("pth", "stored", pth())
    write("pth", "deflated", pth(compressed=True))
    write("shard_index", "two", json.dumps({"metadata": {"total_size": 32}, "weight_map": {
        "a.weight": "m-00001-of-00002.safetensors", "a.bias": "m-00001-of-00002.safetensors",
        "b": "m-00002-of-00002.safetensors"}}))
    write("shard_index", "outside", json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    write("config", "tiny", (ROOT.parent.parent.parent / "models/tiny/config.json").read_bytes())
    write("config", "official", json.dumps({
        "_class_name": "WanModel", "dim": 1536, "eps": 1e-06, "ffn_dim": 8960, "freq_dim": 256, "in_dim": 16,
        "model_type": "t2v", "num_heads": 12, "num_layers": 30, "out_dim": 16, "text_len": 512}))
    cases = [{"clip": "a.y4m", "prompt": "a fox"},
             {"arm": "x <&|>", "clip": "a.y4m", "prompt": "a fox", "method": "none", "seed": 1, "frames": 9, "subject": "fox",
              "embeddings": "e.safetensors", "path": [[1, 2], [3.5, 4e2]], "settings": {"steps": 10, "cfg": "4.5"}},
             {"clip": "b", "prompt": "p", "path": "absent.json"},
             {"claim": {"a": "x <&|>", "b": "default", "baseline": "z", "scores": ["fidelity", "flicker", "?"], "margin": 0.1}}]
    rows = [{"hash": f"{i:064x}", "arm": arm, "clip": clip, "prompt": "a fox", "seed": seed, "video": "videos/a.gif", "memory_peak": 1e6,
             "seconds": {"text": 0.1, "extract": 1, "sample": 2.5, "decode": 0.5}, "losses": [[3, 2.5], [None, 1]],
             "scores": {"path_correlation": i / 9, "fidelity": 1 / (i + 1), "flicker": i, "speed_ratio": None}, "backend": "cpu"}
            for i, (arm, clip, seed) in enumerate((a, c, s) for a in ("x <&|>", "default", "z") for c in ("a.y4m", "b") for s in (1, 2))]
    rows += [rows[0] | {"error": "no"}, rows[1] | {"hash": "f" * 64, "error": None}]
    lines = lambda objects: "# a comment\n\n" + "\n".join(json.dumps(o) for o in objects)
    write("table", "manifest", lines(cases))
    write("table", "both", lines(cases + rows) + "\n" + json.dumps(rows[3])[:40])
    blocks = (ROOT.parent.parent / "data/formats/gguf/blocks.gguf").read_bytes()
    write("gguf", "types", blocks[:4096])
    write("gguf", "small", gguf([("w", 8, [64, 2], 0), ("v", 12, [256], 160), ("s", 0, [3], 320)], 352))
    write("gguf", "folded", gguf([("patch_embedding.weight", 0, [2, 2, 1, 4], 0), ("patch_embedding.bias", 0, [2], 64),
                                  ("head.modulation", 0, [1], 96)], 128, [("comfy.gguf.orig_shape.patch_embedding.weight",
                                                                           [2, 2, 1, 2, 2])]))
    write("lora", "musubi", safetensors(
        [("lora_unet_blocks_0_self_attn_q.lora_down.weight", "F32", [2, 36]), ("lora_unet_blocks_0_self_attn_q.lora_up.weight", "F32", [36, 2]),
         ("lora_unet_blocks_0_self_attn_q.alpha", "F32", [])], values=small_values))
    write("lora", "diffusers", safetensors(
        [("transformer.blocks.1.attn2.to_out.0.lora_A.weight", "F32", [1, 36]), ("transformer.blocks.1.attn2.to_out.0.lora_B.weight", "F32", [36, 1]),
         ("transformer.blocks.1.attn2.to_out.0.lora_B.bias", "F32", [36])],
        {"lora_adapter_metadata": '{"transformer.lora_alpha": 2, "transformer.r": 1, "transformer.use_rslora": true}'}, values=small_values))
    write("lora", "comfy", safetensors(
        [("diffusion_model.head.head.diff", "F32", [64, 36]), ("diffusion_model.head.head.diff_b", "F32", [64]),
         ("diffusion_model.blocks.2.modulation.diff", "F32", [1, 6, 36]), ("diffusion_model.blocks.3.norm3.diff_b", "F32", [36]),
         ("diffusion_model.img_emb.proj.1.diff_b", "F32", [2]), ("diffusion_model.blocks.0.ffn.0.alpha", "I64", [1]),
         ("diffusion_model.blocks.0.ffn.0.lora_A.weight", "BF16", [1, 36]), ("diffusion_model.blocks.0.ffn.0.lora_B.weight", "F16", [64, 1])],
        values=small_values))
    write("lora", "quantised", gguf(
        [("diffusion_model.blocks.0.cross_attn.v.lora_down.weight", 0, [36, 32], 0), ("diffusion_model.blocks.0.cross_attn.v.lora_up.weight", 8, [32, 36], 4608),
         ("diffusion_model.blocks.1.diff_m", 0, [36, 6, 1], 5856)], 6720))
    for part in ("transformer", "vae", "text_encoder"):
        write("config", f"diffusers_{part}",
              (ROOT.parent.parent / f"data/formats/diffusers/{part}/config.json").read_bytes())
    write("safetensors", "fp8", safetensors([
        ("patch_embedding.weight", "F8_E4M3", [2, 1, 1, 1, 1]), ("head.modulation", "F8_E4M3", [1, 2, 2]),
        ("a.weight", "F8_E4M3", [2, 3]), ("a.scale_weight", "F32", [2, 1]), ("a.scale_input", "F32", []),
        ("b.weight", "F8_E4M3", [2, 3]), ("b.weight_scale", "BF16", []), ("scaled_fp8", "F8_E4M3", [0])],
        values=small_values))
    write("safetensors", "vae_config", safetensors(
        [("encoder.conv1.weight", "F16", [2, 3, 1, 1, 1]), ("decoder.conv1.weight", "F16", [2, 2, 1, 1, 1])],
        {"vae_config": '{"num_res_blocks":1,"dim_mult":[1,2,4,4],"temporal_downsample":[false,true,true],"mean":[0.5,-1e-3],"std":[1,2]}'}))
    write("safetensors", "diffusers", safetensors([(name, "BF16", [1]) for name in (
        "condition_embedder.time_proj.weight", "scale_shift_table", "blocks.0.attn1.to_out.0.bias", "blocks.1.norm2.weight",
        "proj_out.weight", "other")]))
    write("safetensors", "diffusers_vae", safetensors([(name, "F32", [1]) for name in (
        "decoder.conv_in.weight", "quant_conv.weight", "decoder.up_blocks.0.resnets.0.conv1.weight",
        "decoder.up_blocks.2.upsamplers.0.time_conv.bias", "decoder.up_blocks.3.resnets.2.norm2.gamma")]))
    write("safetensors", "umt5", safetensors([("model." + name, "F32", [1]) for name in (
        "encoder.final_layer_norm.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.embed_tokens.weight", "shared.weight", "spiece_model")]))
    write("clean", "entities", "a &amp;lt;red&eacute; car&nbsp; on\u3000snow\r\n \ufb01n e\u0301 \u00bd&#x1F41D;&#62")
    write("clean", "widths", "\uff21\uff22\u3000\u201cquoted\u201d \u4e00\u53ea\u732b \U0001f408\u200d\u2b1b \x1b[31mred\x1b[0m")
    write("spiece", "small", spiece())
    frame = lambda count: b"FRAME\n" + bytes(i * 37 % 256 for i in range(count))
    write("clip", "420", b"YUV4MPEG2 W4 H3 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n" + 3 * frame(20))
    write("clip", "422", b"YUV4MPEG2 W5 H2 F16:1 C422 XCOLORRANGE=FULL XCOLORMATRIX=BT709\n" + 2 * frame(22))
    write("clip", "444", b"YUV4MPEG2 W3 H2 F1:3 A4:3 C444\n" + 4 * frame(18))
    write("clip", "mono", b"YUV4MPEG2 H2 W2 Cmono\n" + frame(4) + b"FRAME Ip XNOTE\n1234")
    write("clip", "ppm", b"P6 # a picture\n3 2\n255\n" + bytes(range(18)))


if __name__ == "__main__":
    main()
