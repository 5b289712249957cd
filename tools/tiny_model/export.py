# SPDX-License-Identifier: MIT
"""Packs trained weights: dit.safetensors and text.safetensors in BF16, vae.safetensors in F16,
spiece.model, config.json.   python3 export.py VAE_DIR DIT_DIR DATA_DIR OUT_DIR"""
import json, os, shutil, sys
import torch
import wan_tiny as w

vae_dir, dit_dir, data, out = sys.argv[1:5]
info = json.load(open(vae_dir + "/vae.json"))
meta = {"format": "pt", "model": "fastvmt-tiny (Wan2.1 architecture, trained from scratch on synthetic clips)"}
w.st_save(out + "/dit.safetensors", w.st_load(dit_dir + "/ema_dit.safetensors"), "BF16", meta)
w.st_save(out + "/text.safetensors", w.st_load(dit_dir + "/ema_text.safetensors"), "BF16", meta)
w.st_save(out + "/vae.safetensors", w.st_load(vae_dir + "/vae.safetensors"), "F16", meta)
shutil.copy(data + "/spiece.model", out + "/spiece.model")
cfg = {
    "name": "fastvmt-tiny", "architecture": "wan2.1-t2v",
    "dit": {"file": "dit.safetensors", "model_type": "t2v", "dim": 256, "ffn_dim": 640, "num_heads": 4, "num_layers": 8,
            "in_dim": 16, "out_dim": 16, "freq_dim": 256, "text_dim": 128, "text_len": 64, "patch_size": [1, 2, 2],
            "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6, "rope_theta": 10000},
    "text": {"file": "text.safetensors", "tokenizer": "spiece.model", "vocab_size": 1280, "dim": 128, "dim_attn": 128, "dim_ffn": 320,
             "num_heads": 4, "num_layers": 2, "num_buckets": 32, "max_distance": 128, "shared_pos": False,
             "pad_id": 0, "eos_id": 1, "unk_id": 2, "trained_tokens": 32},
    "vae": {"file": "vae.safetensors", "dim": 16, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
            "temporal_downsample": [False, True, True], "stride": [4, 8, 8],
            "mean": [round(v, 6) for v in info["mean"]], "std": [round(v, 6) for v in info["std"]]},
    "video": {"frames": 33, "height": 96, "width": 160, "fps": 16},
    "sampling": {"solver": "euler", "steps": 25, "guide_scale": 5.0, "shift": 5.0, "num_train_timesteps": 1000, "negative_prompt": ""},
    "motion": json.load(open(sys.argv[5])) if len(sys.argv) > 5 else {},
    "licence": "Weights trained from scratch by this project on clips rendered by its own scripts; the sprites seen in training were "
               "rasterised from the Noto Color Emoji font (SIL Open Font License 1.1, Google). No third-party weights or videos were used.",
    "provenance": "recipe/*.py, seeds 0/1/5/1000, one NVIDIA H200, about 25 minutes in all; see README.md",
}
json.dump(cfg, open(out + "/config.json", "w"), indent=1)
for f in ("dit.safetensors", "vae.safetensors", "text.safetensors", "spiece.model", "config.json"):
    print(f, os.path.getsize(out + "/" + f))
