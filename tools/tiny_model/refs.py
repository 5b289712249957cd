# SPDX-License-Identifier: MIT
"""Sixteen reference clips with known object paths (still camera), as one npz, and the prompts of the
transfers made from them.   python3 refs.py sprites.npz refs.npz"""
import json, sys
import numpy as np
import torch
import backgrounds as bgs
import render as R

# motion, object (name, colour), scene, new prompt, new object noun, new scene
LIST = [
    ("across", "car", "red", "road", "a horse on snow", "horse", "snow"),
    ("bounce", "soccer ball", "", "grass", "a pumpkin in the desert", "pumpkin", "desert"),
    ("circle", "bee", "", "sky", "a rocket in the night sky", "rocket", "night"),
    ("zigzag", "rabbit", "", "snow", "a green car on grass", "car", "grass"),
    ("throw", "basketball", "", "brick", "an apple at sunset", "apple", "sunset"),
    ("wave", "fish", "", "sea", "a butterfly in a forest", "butterfly", "forest"),
    ("vertical", "balloon", "red", "mountains", "a ghost in the city", "ghost", "city"),
    ("swing", "monkey", "", "forest", "a yellow star in front of a brick wall", "star", "brick"),
    ("circle", "airplane", "", "sky", "a duck on the sea", "duck", "sea"),
    ("spline", "ball", "blue", "desert", "a fox on snow", "fox", "snow"),
    ("bounce", "frog", "", "grass", "a purple ball on a road", "ball", "road"),
    ("across", "train", "", "desert", "a whale on the sea", "whale", "sea"),
    ("zigzag", "heart", "pink", "night", "a dog on grass", "dog", "grass"),
    ("wave", "duck", "", "sea", "a helicopter in the mountains", "helicopter", "mountains"),
    ("swing", "star", "yellow", "night", "a panda in the forest", "panda", "forest"),
    ("spline", "ladybug", "", "road", "a red balloon in the sky", "balloon", "sky"),
]
LIST[15] = ("spline", "strawberry", "", "road", "a red balloon in the sky", "balloon", "sky")

if __name__ == "__main__":
    cat = R.Catalogue(sys.argv[1])
    bank, scene = bgs.bank(4, 500)
    rng = np.random.default_rng(2025)
    items = []
    for m, n, c, s, *_ in LIST:
        i = [j for j in range(len(cat.names)) if cat.names[j] == n and cat.colours[j] == c][0]
        while True:
            it = R.draw(rng, cat, scene, motion=m, cam="static", ids=[i], scene=s, look="")
            p = it["pose"][0]
            if p[:, 0].min() > 16 and p[:, 0].max() < 144 and p[:, 1].min() > 14 and p[:, 1].max() < 84 and p[:, :2].std(0).max() > 13:
                break
        it["pose"][0, :, 2] = 44
        it["pose"][0, :, 3] = 0
        items.append(it)
    v = R.Renderer(cat, bank, "cpu").compose(R.collate(items))
    u = ((v + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).numpy()     # B T H W 3
    paths = np.stack([i["pose"][0, :, :2] for i in items])
    np.savez_compressed(sys.argv[2], video=u, path=paths, motion=np.array([l[0] for l in LIST]),
                        text=np.array([i["text"] for i in items]), prompt=np.array([l[4] for l in LIST]),
                        noun=np.array([l[5] for l in LIST]), scene=np.array([l[6] for l in LIST]))
    print(u.shape, [i["text"] for i in items])
