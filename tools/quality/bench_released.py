#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times the released FastVMT PyTorch code (mayuelala/FastVMT 34a050b) with random weights, beside which docs/performance.md
puts our figures.  Nothing of that code is here: give the folder of a checkout, with the number of guided steps made settable by

    sed -i 's/i_for_guidance < 10/i_for_guidance < getattr(self, "guided_steps", 10)/' CHECKOUT/diffsynth/pipelines/wan_video.py

usage: tools/quality/bench_released.py CHECKOUT [--budget SECONDS] [--sections 1,2,5,3,4,6] [--json FILE]
(needs torch with CUDA, einops.)  Each result is printed at once as   NAME median min n   (seconds; then '# all values').
1: DiT forward; 2: guidance step; 5: whole pipeline, few steps; 3: VAE; 4: text encoder on the GPU; 6: the same as released.
"""
import time
T0 = time.perf_counter()
import argparse, gc, json, os, shutil, statistics, subprocess, sys, tempfile, traceback, types, importlib, importlib.util
import importlib.machinery

ap = argparse.ArgumentParser()
ap.add_argument("checkout", help="folder that holds diffsynth/")
ap.add_argument("--budget", type=float, default=170.0, help="seconds in all; a section that no longer fits is skipped")
ap.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
ap.add_argument("--config", default="full", choices=["full", "tiny"])
ap.add_argument("--sections", default="1,2,5,3,4,6", help="order; 6 = text encoder as released (weights on the CPU)")
ap.add_argument("--light", action="store_true", help="stub transformers etc. even where installed (smaller Python heap)")
ap.add_argument("--guid-runs", type=int, default=2)
ap.add_argument("--steps", type=int, default=4)
ap.add_argument("--guided", type=int, default=1)
ap.add_argument("--json", default=None)
args = ap.parse_args()

DEV = args.device
CUDA = DEV == "cuda"
FULL = dict(height=480, width=832, frames=81, tile=(30, 52), stride=(15, 26), sf=4,
            dit=dict(has_image_input=False, patch_size=[1, 2, 2], in_dim=16, dim=1536, ffn_dim=8960, freq_dim=256,
                     text_dim=4096, out_dim=16, num_heads=12, num_layers=30, eps=1e-6),
            vae_dim=96, t5={}, text_len=512)
TINY = dict(height=336, width=384, frames=13, tile=(21, 24), stride=(11, 12), sf=4,
            dit=dict(has_image_input=False, patch_size=[1, 2, 2], in_dim=16, dim=24, ffn_dim=64, freq_dim=256,
                     text_dim=64, out_dim=16, num_heads=2, num_layers=15, eps=1e-6),
            vae_dim=0, t5=dict(vocab=1000, dim=64, dim_attn=64, dim_ffn=128, num_heads=4, num_layers=2), text_len=512)
CFG = FULL if args.config == "full" else TINY
RES = {}


def say(*a):
    print(*a, flush=True)


def elapsed():
    return time.perf_counter() - T0


def left():
    return args.budget - elapsed()


def report(name, values):
    values = list(values)
    if not values:
        say(f"{name} - - 0  # nothing measured")
        return
    RES[name] = values
    say(f"{name} {statistics.median(values):.4f} {min(values):.4f} {len(values)}  # s: "
        + " ".join(f"{v:.4f}" for v in values[:12]) + (" ..." if len(values) > 12 else ""))


def note(name, value):
    RES[name] = value
    say(f"{name} {value}")


# ---------------------------------------------------------------- imports of the released code
class Dummy:
    def __init__(self, *a, **k): pass
    def __call__(self, *a, **k): return None
    @classmethod
    def from_pretrained(cls, *a, **k): raise RuntimeError("stub")


class StubModule(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Dummy


class StubFinder:
    """Last on sys.meta_path: only reached for what is not installed (or first, with force)."""
    def __init__(self, roots): self.roots = set(roots)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.roots:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None
    def create_module(self, spec):
        m = StubModule(spec.name); m.__path__ = []; return m
    def exec_module(self, module):
        root = module.__name__
        if root == "tqdm":
            module.tqdm = lambda it=None, *a, **k: it
        if root == "regex":
            import re as _re
            module.sub = _re.sub


def add_stubs():
    roots = ["modelscope", "ftfy", "imageio", "pandas", "xfuser", "peft", "lightning", "regex", "huggingface_hub",
             "torchvision", "safetensors", "transformers", "tqdm"]
    missing = []
    for r in roots:
        try:
            found = importlib.util.find_spec(r) is not None
        except Exception:
            found = False
        if not found:
            missing.append(r)
    sys.meta_path.append(StubFinder(missing))
    say("# stubbed (not installed):", " ".join(missing) or "none")


def need_einops():
    import einops
    say("# einops", einops.__version__, os.path.dirname(einops.__file__))


def source_dir():
    src = os.path.abspath(args.checkout)
    if CUDA:
        return src
    tmp = tempfile.mkdtemp(prefix="ptsrc")          # rehearsal on the CPU: the code names 'cuda' literally
    shutil.copytree(os.path.join(src, "diffsynth"), os.path.join(tmp, "diffsynth"))
    p = os.path.join(tmp, "diffsynth/pipelines/wan_video.py")
    s = open(p).read().replace("device='cuda'", "device='cpu'").replace('device_type="cuda"', 'device_type="cpu"')
    s = s.replace("dtype=torch.bfloat16", "enabled=False, dtype=torch.bfloat16")
    s = s.replace("total_steps = 10 ", "total_steps = 4 ")     # shorter rehearsal
    open(p, "w").write(s)
    return tmp


def load_released():
    src = source_dir()
    sys.path.insert(0, src)
    if not args.light:
        try:
            add_stubs()
            import diffsynth  # the whole package, as the example scripts import it
            say(f"# import diffsynth (whole package) ok at {elapsed():.1f} s")
            return
        except Exception:
            traceback.print_exc()
            say("# whole package failed: minimal import")
            for m in [m for m in sys.modules if m.split(".")[0] == "diffsynth"]:
                del sys.modules[m]
    # minimal: only the files used, packages' __init__ skipped
    keep = {}
    for r in ["transformers", "ftfy", "regex", "torchvision", "torchvision.transforms", "safetensors"]:
        keep[r] = sys.modules.get(r)
        m = StubModule(r); m.__path__ = []; m.__spec__ = importlib.machinery.ModuleSpec(r, None, is_package=True)
        sys.modules[r] = m
    if importlib.util.find_spec("tqdm") is None:
        sys.meta_path.append(StubFinder(["tqdm"]))
    for p in ["diffsynth", "diffsynth.models", "diffsynth.pipelines", "diffsynth.prompters", "diffsynth.schedulers"]:
        m = types.ModuleType(p)
        m.__path__ = [os.path.join(src, *p.split("."))]
        m.__spec__ = importlib.machinery.ModuleSpec(p, None, is_package=True)
        sys.modules[p] = m
    mm = types.ModuleType("diffsynth.models.model_manager")
    mm.ModelManager = Dummy
    sys.modules["diffsynth.models.model_manager"] = mm
    sys.modules["diffsynth.models"].ModelManager = Dummy
    wp = importlib.import_module("diffsynth.prompters.wan_prompter")
    sys.modules["diffsynth.prompters"].WanPrompter = wp.WanPrompter
    importlib.import_module("diffsynth.pipelines.wan_video")
    for r, m in keep.items():
        if m is None:
            del sys.modules[r]
        else:
            sys.modules[r] = m
    say(f"# minimal import of diffsynth ok at {elapsed():.1f} s")


say("# start", time.strftime("%Y-%m-%d %H:%M:%S"), "python", sys.version.split()[0], "args", vars(args))
import numpy as np
import torch
import torch.utils.checkpoint  # noqa: the released code uses it as an attribute
say(f"# torch {torch.__version__} cuda {torch.version.cuda} cudnn {torch.backends.cudnn.version()} imported at {elapsed():.1f} s")
need_einops()
load_released()
wv = sys.modules["diffsynth.pipelines.wan_video"]
wd = importlib.import_module("diffsynth.models.wan_video_dit")
wvae = importlib.import_module("diffsynth.models.wan_video_vae")
wt5 = importlib.import_module("diffsynth.models.wan_video_text_encoder")
wutil = importlib.import_module("diffsynth.models.utils")
from PIL import Image
say("# attention packages: FA3", wd.FLASH_ATTN_3_AVAILABLE, "FA2", wd.FLASH_ATTN_2_AVAILABLE, "sage", wd.SAGE_ATTN_AVAILABLE)

BF = torch.bfloat16 if CUDA else torch.float32        # bf16 is too slow on the CPU for a rehearsal


def sync():
    if CUDA:
        torch.cuda.synchronize()


def peak_reset():
    if CUDA:
        torch.cuda.reset_peak_memory_stats()


def peak(name):
    if CUDA:
        note(f"PEAK_{name}", f"alloc {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB "
             f"reserved {torch.cuda.max_memory_reserved() / 2**30:.2f} GiB")


def timed(f):
    sync(); t = time.perf_counter(); r = f(); sync()
    return time.perf_counter() - t, r


def repeat_timed(f, n, warm):
    for _ in range(warm):
        f()
    return [timed(f)[0] for _ in range(n)]


# quiet: the released code prints on every inner step; its progress bars are not wanted
wv.print = lambda *a, **k: None
wvae.tqdm = lambda it, *a, **k: it


class Rec:
    def __init__(self): self.clear()
    def clear(self): self.inner = []; self.parts = {}; self.top = {}; self.depth = 0


REC = Rec()


def inner_iter(it, *a, **k):
    """stands for tqdm around the inner steps: times the loop body of each"""
    for j in it:
        sync(); t = time.perf_counter()
        yield j
        sync(); REC.inner.append((j, time.perf_counter() - t))


wv.tqdm = inner_iter      # (the default progress bar of __call__ was bound before: we pass our own there)


def wrap(obj, attr, name):
    orig = getattr(obj, attr)

    def f(*a, **k):
        sync(); t = time.perf_counter(); REC.depth += 1
        try:
            return orig(*a, **k)
        finally:
            REC.depth -= 1
            sync(); dt = time.perf_counter() - t
            REC.parts.setdefault(name, []).append(dt)
            if REC.depth == 0:
                REC.top.setdefault(name, []).append(dt)
    setattr(obj, attr, f)


# ---------------------------------------------------------------- models with random weights
def materialize(model, device):
    """meta parameters -> random bf16 on device; linear/conv/embedding N(0, 0.02), norm weights 1, biases 0"""
    for mname, mod in model.named_modules():
        for pname, p in list(mod._parameters.items()):
            if p is None:
                continue
            d = torch.empty(p.shape, dtype=BF, device=device)
            if pname == "modulation":
                d.normal_(0, p.shape[-1] ** -0.5)
            elif pname == "bias":
                d.zero_()
            elif pname == "gamma" or p.ndim < 2:
                d.fill_(1)
            else:
                d.normal_(0, 0.02)
            mod._parameters[pname] = torch.nn.Parameter(d, requires_grad=p.requires_grad)
    return model.eval()


def build(cls, **kw):
    with wutil.init_weights_on_device():
        m = cls(**kw)
    return materialize(m, DEV)


class ToyVAE(torch.nn.Module):
    """rehearsal only: right shapes, no work"""
    def __init__(self):
        super().__init__(); self.conv = torch.nn.Conv3d(1, 1, 1)
    def encode(self, x, scale):
        z = torch.nn.functional.avg_pool3d(x[:, :, ::4], (1, 8, 8))
        return z.mean(1, keepdim=True).expand(-1, 16, -1, -1, -1).contiguous()
    def decode(self, z, scale):
        T = z.shape[2] * 4 - 3
        return torch.nn.functional.interpolate(z[:, :3], size=(T, z.shape[3] * 8, z.shape[4] * 8))


def build_vae():
    with wutil.init_weights_on_device():
        v = wvae.WanVideoVAE(z_dim=16)
        if CFG["vae_dim"] != 96:
            v.model = ToyVAE() if CFG["vae_dim"] == 0 else wvae.VideoVAE_(dim=CFG["vae_dim"], z_dim=16).eval().requires_grad_(False)
    return materialize(v, DEV)


class FakeText(torch.nn.Module):
    """random embeddings in place of UMT5 (its time is measured apart)"""
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(4, 4).to(BF)
        g = torch.Generator().manual_seed(7)
        self.emb = torch.randn(1, CFG["text_len"], CFG["dit"]["text_dim"], generator=g).to(BF)

    def forward(self, ids, mask=None):
        return self.emb.to(ids.device).clone()


class FakeTok:
    def __init__(self, n=None): self.n = n
    def __call__(self, prompt, return_mask=True, **k):
        L = CFG["text_len"]
        n = self.n or min(L, 1 + int(1.3 * len(prompt.split())))
        ids = torch.zeros(1, L, dtype=torch.long); ids[0, :n] = torch.arange(n) % 997 + 1
        mask = torch.zeros(1, L, dtype=torch.long); mask[0, :n] = 1
        return ids, mask


PROMPT = "a lively puppy running quickly on a green grass field in the sun " * 6
NEG = "vivid colors overexposed static blurry details subtitles stylized artwork painting still image " * 4

S = {}        # what sections share


def setup():
    if CUDA:
        p = torch.cuda.get_device_properties(0)
        note("GPU", f"{p.name} {p.total_memory / 2**30:.1f} GiB {p.multi_processor_count} SM")
        try:
            say("# nvidia-smi:", subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit",
                "--format=csv,noheader"], capture_output=True, text=True, timeout=20).stdout.strip())
        except Exception as e:
            say("# nvidia-smi failed:", e)
        try:
            q = torch.randn(1, 12, 256, 128, device=DEV, dtype=BF)
            say("# SDPA choice (1 flash, 2 mem-efficient, 3 cudnn, 0 math):", int(torch._fused_sdp_choice(q, q, q)))
        except Exception as e:
            say("# SDPA choice unknown:", e)
    torch.manual_seed(0)
    t = time.perf_counter()
    pipe = wv.WanVideoPipeline(device=DEV, torch_dtype=BF)
    pipe.dit = build(wd.WanModel, **CFG["dit"])
    pipe.vae = build_vae()
    pipe.text_encoder = FakeText()
    pipe.prompter.fetch_models(pipe.text_encoder)
    pipe.prompter.tokenizer = FakeTok()
    sync(); say(f"# weights made on the device in {time.perf_counter() - t:.1f} s; parameters: dit "
                f"{sum(p.numel() for p in pipe.dit.parameters()) / 1e6:.1f} M, vae {sum(p.numel() for p in pipe.vae.parameters()) / 1e6:.1f} M")
    pipe.dit.cpu(); pipe.vae.cpu()                     # as released: loaded on the CPU, then managed
    pipe.enable_vram_management(num_persistent_param_in_dit=None)
    dt, _ = timed(lambda: pipe.load_models_to_device(["dit", "motion_controller", "vace"]))
    report("load_dit_to_device", [dt])
    f = (CFG["frames"] - 1) // 4 + 1
    h8, w8 = CFG["height"] // 8, CFG["width"] // 8
    S.update(pipe=pipe, f=f,
             size_info={"tiled": True, "tile_size": CFG["tile"], "frames": f},
             lat=torch.randn(1, 16, f, h8, w8, device=DEV).to(BF),
             clean=torch.randn(1, 16, f, h8, w8, device=DEV).to(BF))
    with torch.no_grad():
        S["pos"] = pipe.encode_prompt(PROMPT); S["null"] = pipe.encode_prompt("")
    pipe.scheduler.set_timesteps(50, denoising_strength=0.75, shift=7.0)
    S["t"] = pipe.scheduler.timesteps[0].unsqueeze(0).to(dtype=BF, device=DEV)
    gc.collect()
    say(f"# latents {tuple(S['lat'].shape)}, tokens {f * (h8 // 2) * (w8 // 2)}; gc-tracked objects {len(gc.get_objects())}; set up at {elapsed():.1f} s")


def ctx():
    return torch.amp.autocast(dtype=torch.bfloat16, device_type=DEV, enabled=CUDA)


def forward():
    p = S["pipe"]
    return wv.model_fn_wan_video(p.dit, motion_controller=None, vace=None, x=S["lat"], timestep=S["t"], size_info=S["size_info"],
                                 **S["pos"], tea_cache=None, use_unified_sequence_parallel=False, vace_context=None, vace_scale=1.0)


def on_device(names):
    dt, _ = timed(lambda: S["pipe"].load_models_to_device(names))
    say(f"# models {names} to the device: {dt:.3f} s")


def sec1():
    """DiT forward, eager"""
    peak_reset()
    with torch.no_grad(), ctx():
        out = forward()
        say("# output finite:", bool(torch.isfinite(out).all()), "std", float(out.float().std()))
        report("dit_forward", repeat_timed(forward, 5, 1))
    peak("dit_forward")


def guidance_prepare():
    p, f, sf = S["pipe"], S["f"], CFG["sf"]
    p.indices_computed = False
    p.clean_latents = S["clean"]
    w = np.linspace(1, 0.8, num=sf)
    for i in range(1, f):
        w = np.concatenate([w, np.linspace(1, 0.8, num=sf)[:(sf if i + sf < f else f - i)]], axis=0)
    p.weights = torch.tensor(w, dtype=torch.float32, device=DEV)
    p.scheduler.set_timesteps(50, denoising_strength=0.75, shift=7.0)


def sec2():
    """guidance step as released"""
    p = S["pipe"]
    guidance_prepare()
    if "clean" not in S.get("wrapped", ()):
        wrap(p, "clean_memory", "clean_memory"); S["wrapped"] = ("clean",)

    def step():
        with torch.no_grad(), ctx():
            return p.guidance_step(S["lat"], S["t"], S["pos"], S["null"], {}, {}, S["lat"], S["size_info"],
                                   sf=CFG["sf"], mode="effi_AMF", seed=42, interval=3, step_id=0)
    peak_reset()
    REC.clear()
    dt, r = timed(step)
    say("# result finite:", bool(torch.isfinite(r).all()), "moved (mean abs)", float((r.detach().float() - S["lat"].float()).abs().mean()),
        "gradient finite:", bool(torch.isfinite(p.cached_grad).all()), "nonzero", float((p.cached_grad != 0).float().mean()))
    report("guidance_step_first", [dt])
    REC.clear()
    tot, ref = [], []
    for k in range(args.guid_runs):
        if left() < dt + 2:
            say(f"# guidance run {k} skipped: {left():.0f} s left"); break
        n = len(REC.inner)
        d, r = timed(step)
        tot.append(d); ref.append(d - sum(t for _, t in REC.inner[n:]))
    report("guidance_step", tot)
    report("guidance_before_inner(reference_pass+2_cleans)", ref)
    report("inner_computed", [t for j, t in REC.inner if j % 3 == 0])
    report("inner_reused", [t for j, t in REC.inner if j % 3 != 0])
    report("clean_memory_in_guidance", REC.parts.get("clean_memory", []))
    S["G_clean_sum"] = sum(REC.parts.get("clean_memory", [0])) / max(1, len(tot))
    note("guidance_step_minus_clean_memory", f"{(statistics.median(tot) if tot else float('nan')) - S['G_clean_sum']:.4f}  # s, clean_memory {S['G_clean_sum']:.4f} s a step")
    peak("guidance_step")
    # forward again with the train() flag that the guidance leaves on, as in the pipeline's unguided part
    if left() > 8:
        with torch.no_grad(), ctx():
            report("dit_forward_after_guidance(train_flag)", repeat_timed(forward, 3, 1))


def make_video():
    if "video" not in S:
        rng = np.random.default_rng(1)
        small = rng.integers(0, 256, (CFG["frames"], CFG["height"] // 8, CFG["width"] // 8, 3), dtype=np.uint8)
        S["video"] = [Image.fromarray(np.repeat(np.repeat(x, 8, 0), 8, 1)) for x in small]
    return S["video"]


def sec5():
    """the whole pipeline call"""
    p = S["pipe"]
    video = make_video()
    p.guided_steps = args.guided
    for a in ("encode_video", "decode_video", "guidance_step", "load_models_to_device", "tensor2video", "preprocess_images", "encode_prompt"):
        if a not in S.get("wrapped5", ()):
            wrap(p, a, a)
    wrap(wv, "model_fn_wan_video", "dit_forward")
    if "clean" not in S.get("wrapped", ()):
        wrap(p, "clean_memory", "clean_memory"); S["wrapped"] = ("clean",)
    p.load_models_to_device([])
    p.dit.eval()                                        # as freshly loaded; guidance switches train() on
    gc.collect()
    peak_reset(); REC.clear()
    dt, out = timed(lambda: p(PROMPT, negative_prompt=NEG, input_video=video, seed=42, num_inference_steps=args.steps,
        denoising_strength=0.75, tiled=True, num_frames=CFG["frames"], height=CFG["height"], width=CFG["width"],
        tile_size=CFG["tile"], tile_stride=CFG["stride"], sf=CFG["sf"], mode="effi_AMF", progress_bar_cmd=lambda it: it))
    arr = np.asarray(out[0])
    say("# frames out", len(out), arr.shape, "mean", float(arr.mean()))
    report(f"pipeline_{args.steps}steps_{args.guided}guided", [dt])
    S["whole"] = dt
    tot = 0
    for k, v in REC.top.items():
        say(f"#   in situ {k}: {sum(v):.3f} s in {len(v)} calls (median {statistics.median(v):.3f})"); tot += sum(v)
    note("pipeline_parts_in_situ_sum", f"{tot:.3f}  # s of {dt:.3f}; rest {dt - tot:.3f}")
    report("in_situ_inner_computed", [t for j, t in REC.inner if j % 3 == 0])
    report("in_situ_inner_reused", [t for j, t in REC.inner if j % 3 != 0])
    report("in_situ_dit_forward", REC.top.get("dit_forward", []))
    report("in_situ_clean_memory_all", REC.parts.get("clean_memory", []))
    S["top"] = {k: sum(v) for k, v in REC.top.items()}
    peak("pipeline")


def sec3():
    """VAE"""
    p = S["pipe"]
    enc, dec = wv.WanVideoPipeline.encode_video, wv.WanVideoPipeline.decode_video
    on_device(["vae"])
    tk = dict(tile_size=CFG["tile"], tile_stride=CFG["stride"])
    v = torch.stack(wv.WanVideoPipeline.preprocess_images(p, make_video()), dim=2).to(dtype=BF, device=DEV)
    with torch.no_grad():
        for tiled in (True, False):                    # warm-up: 5 frames
            z = enc(p, v[:, :, :5], tiled=tiled, **tk); dec(p, z, tiled=tiled, **tk)
        sync()
        say(f"# VAE warm at {elapsed():.1f} s")
        z = None
        for tiled in (True, False):
            name = "tiled" if tiled else "untiled"
            if left() < 8:
                say(f"# VAE {name} skipped"); continue
            peak_reset()
            dt, z = timed(lambda: enc(p, v, tiled=tiled, **tk)); report(f"vae_encode_{name}", [dt]); peak(f"vae_encode_{name}")
            z = z.to(dtype=BF, device=DEV)
            say("# latents finite:", bool(torch.isfinite(z).all()))
            peak_reset()
            dt, o = timed(lambda: dec(p, z, tiled=tiled, **tk)); report(f"vae_decode_{name}", [dt]); peak(f"vae_decode_{name}")
            say("# frames:", tuple(o.shape), "finite:", bool(torch.isfinite(o).all()), "on", o.device)
            del o
    p.load_models_to_device([])


def sec4():
    """UMT5-xxl, weights on the GPU"""
    S["pipe"].load_models_to_device([])
    peak_reset()
    t = time.perf_counter()
    t5 = build(wt5.WanTextEncoder, **CFG["t5"]); sync()
    say(f"# UMT5 {sum(x.numel() for x in t5.parameters()) / 1e9:.2f} G parameters, made in {time.perf_counter() - t:.1f} s")
    pr = type(S["pipe"].prompter)()
    pr.fetch_models(t5); pr.tokenizer = FakeTok(CFG["text_len"])
    S["t5"], S["prompter"] = t5, pr
    with torch.no_grad():
        report("umt5_encode_gpu", repeat_timed(lambda: pr.encode_prompt("x", device=DEV), 5, 1))
    peak("umt5_encode_gpu")


def sec6():
    """UMT5-xxl as released: weights on the CPU, copied at each use"""
    if "t5" not in S:
        say("# needs section 4"); return
    t5, pr = S["t5"], S["prompter"]
    t = time.perf_counter(); t5.cpu(); sync()
    if CUDA: torch.cuda.empty_cache()
    say(f"# UMT5 to the CPU in {time.perf_counter() - t:.1f} s")
    # the text part of WanVideoPipeline.enable_vram_management, same arguments
    wv.enable_vram_management(t5, module_map={torch.nn.Linear: wv.AutoWrappedLinear, torch.nn.Embedding: wv.AutoWrappedModule,
        wv.T5RelativeEmbedding: wv.AutoWrappedModule, wv.T5LayerNorm: wv.AutoWrappedModule},
        module_config=dict(offload_dtype=BF, offload_device="cpu", onload_dtype=BF, onload_device="cpu",
                           computation_dtype=BF, computation_device=DEV))
    peak_reset()
    with torch.no_grad():
        d0, _ = timed(lambda: pr.encode_prompt("x", device=DEV)); report("umt5_encode_as_released_first", [d0])
        n = int(min(2, (left() - 2) // max(d0, 1e-3)))
        report("umt5_encode_as_released", repeat_timed(lambda: pr.encode_prompt("x", device=DEV), n, 0))
    peak("umt5_encode_as_released")


def summary():
    g = lambda k: statistics.median(RES[k]) if isinstance(RES.get(k), list) and RES[k] else None
    F, G = g("dit_forward"), g("guidance_step") or g("guidance_step_first")
    E, D, T = g("vae_encode_tiled"), g("vae_decode_tiled"), S.get("top", {})
    say("# --- summary (s)")
    if None in (F, G):
        say("# no summary: sections 1, 2 missing"); return
    if None not in (E, D) and "whole" in S:
        core = E + args.guided * G + 2 * args.steps * F + D
        extra = sum(T.get(k, 0) for k in ("load_models_to_device", "tensor2video", "preprocess_images", "encode_prompt", "clean_memory"))
        note("pipeline_measured", f"{S['whole']:.3f}")
        note("pipeline_sum_of_parts", f"{core + extra:.3f}  # enc {E:.3f} + {args.guided} G {G:.3f} + {2 * args.steps} F {F:.4f} + dec {D:.3f} = {core:.3f}"
             f" + in situ moves, to PIL, preprocessing, prompts, last cleans {extra:.3f}; ratio measured/sum {S['whole'] / (core + extra):.3f}")
        t5 = g("umt5_encode_as_released") or g("umt5_encode_as_released_first")
        full = E + D + extra + 10 * G + 100 * F
        note("released_50steps_10guided_computed", f"{full:.1f}  # s without the text encoder" + (f"; with 3 prompts as released {full + 3 * t5:.1f}" if t5 else ""))
    note("guidance_plus_denoising_50_10_computed", f"{10 * G + 100 * F:.1f}")


EST = {"1": 10, "2": 30, "5": 50, "3": 22, "4": 12, "6": 25} if args.config == "full" else {}


def main():
    try:
        setup()
    except Exception:
        traceback.print_exc(); sys.stderr.flush(); say("# set-up failed"); return
    order = args.sections.split(",")
    fn = {"1": sec1, "2": sec2, "3": sec3, "4": sec4, "5": sec5, "6": sec6}
    for s in order:
        if left() < EST.get(s, 0):
            say(f"# section {s} skipped: {left():.0f} s left of the budget, needs about {EST[s]}"); continue
        say(f"# --- section {s}: {fn[s].__doc__} (at {elapsed():.1f} s)")
        try:
            fn[s]()
        except Exception:
            traceback.print_exc(); sys.stderr.flush(); say(f"# section {s} FAILED")
            REC.clear()
        say(f"# section {s} ended at {elapsed():.1f} s")
    try:
        summary()
    except Exception:
        traceback.print_exc()
    out = args.json
    if out:
        json.dump(RES, open(out, "w"), indent=1)
    say(f"# end at {elapsed():.1f} s")


main()
