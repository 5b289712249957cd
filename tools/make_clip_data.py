#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/data/clip: a tiny CLIP with random weights in transformers' layout, and what transformers
computes with it.  Needs torch, transformers, tokenizers, Pillow.  usage: tools/make_clip_data.py OUT_DIR"""
import json
import os
import sys

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

TEXTS = ["a photo of a dog", "It's a lion, running THROUGH  snow in 1999!", "caf\u00e9 &amp; th\u00e9: \u6771\u4eac \U0001f436",
         "", "the the the " * 20, "they'll don't 've"]
MERGES = ["o n</w>", "i on</w>", "t h", "th e</w>", "i n", "n g</w>", "in g</w>", "d o", "o g</w>", "d og</w>", "l i", "li on</w>",
          "a t</w>", "r u", "p h", "o f</w>", "e r</w>", "t o", "t o</w>", "ph o", "pho to</w>"]


def letters():
    """byte -> letter of the tables (GPT-2's map)"""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, free = {}, 256
    for b in range(256):
        table[b] = chr(b) if b in printable else chr(free)
        free += b not in printable
    return table


def picture(t, width=50, height=40):
    y, x = np.mgrid[:height, :width]
    rgb = [(x * (3 + c) + y * (5 - c) + 17 * t * (c + 1)) % 256 for c in range(3)]
    return np.stack(rgb, -1).astype(np.uint8)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    table = letters()
    words = [table[b] for b in range(256)] + [table[b] + "</w>" for b in range(256)]
    merges = MERGES
    for m in merges:
        joined = m.replace(" ", "")
        if joined not in words:
            words.append(joined)
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {w: i for i, w in enumerate(words)}
    with open(f"{folder}/vocab.json", "w") as f:
        json.dump(vocab, f, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    # the normaliser and splitter of openai/clip-vit-base-patch32's tokenizer.json
    tok = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in merges], end_of_word_suffix="</w>"))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.save(f"{folder}/tokenizer.json", pretty=False)

    torch.manual_seed(1)
    text = dict(vocab_size=len(vocab), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=24, projection_dim=16, eos_token_id=vocab["<|endoftext|>"],
                bos_token_id=vocab["<|startoftext|>"], pad_token_id=vocab["<|endoftext|>"])
    vision = dict(hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8,
                  projection_dim=16)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    for p in model.parameters():  # far from the small values it begins with
        p.data = (torch.randn_like(p) * (p.shape[-1] ** -0.5 if p.dim() > 1 else 0.3) + (p.dim() == 1) * 0.2).half().float()
    model.save_pretrained(folder)

    import html
    out = {"texts": [], "pictures": []}
    wide = model.double()
    for s in TEXTS:
        # the model's original preprocessing: HTML is undone, white space cut
        ids = tok.encode(html.unescape(html.unescape(s)).strip(), add_special_tokens=False).ids[:22]
        ids = [vocab["<|startoftext|>"]] + ids + [vocab["<|endoftext|>"]]
        with torch.no_grad():
            pooled = wide.text_model(input_ids=torch.tensor([ids])).pooler_output
            vector = wide.text_projection(pooled)[0]
        out["texts"].append({"text": s, "ids": ids, "vector": vector.tolist()})
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, resample=3)
    for t in range(3):
        pixels = processor(Image.fromarray(picture(t)), return_tensors="pt")["pixel_values"].double()
        with torch.no_grad():
            vector = wide.visual_projection(wide.vision_model(pixel_values=pixels).pooler_output)[0]
        out["pictures"].append(vector.tolist())
    with open(f"{folder}/expected.json", "w") as f:
        json.dump(out, f, ensure_ascii=False)


main(sys.argv[1])
