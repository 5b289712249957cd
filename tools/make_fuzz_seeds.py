# SPDX-License-Identifier: MIT
"""Writes the seeds of tests/fuzz/corpus: small valid files of each kind.   python3 tools/make_fuzz_seeds.py"""
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/fuzz/corpus"


def write(folder, name, data):
    path = ROOT / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(tensors, meta=None):
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8, "I32": 4, "I64": 8, "U8": 1}
    header, data = {}, b""
    if meta:
        header["__metadata__"] = meta
    for name, dtype, shape in tensors:
        count = sizes[dtype]
        for side in shape:
            count *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + count]}
        data += bytes(i % 251 for i in range(count))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


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


def main():
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
