# SPDX-License-Identifier: MIT
"""Builds sprites.npz: RGBA sprites of named objects.

Natural objects and recoloured ones come from Noto Color Emoji (OFL-1.1 font); balls and flat
shapes are drawn here.  Run once on any machine that has the font:
    python3 sprites.py sprites.npz
"""
import sys
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageFilter

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
TEX = 56            # texture edge in pixels
MARGIN = 2          # transparent rim

NATURAL = {
    "dog": "🐶", "cat": "🐱", "horse": "🐎", "cow": "🐮", "pig": "🐷", "rabbit": "🐰",
    "bear": "🐻", "panda": "🐼", "lion": "🦁", "tiger": "🐯", "elephant": "🐘", "fish": "🐟",
    "duck": "🦆", "turtle": "🐢", "butterfly": "🦋", "frog": "🐸", "penguin": "🐧",
    "whale": "🐳", "fox": "🦊", "owl": "🦉", "bee": "🐝", "monkey": "🐵",
    "bicycle": "🚲", "rocket": "🚀", "train": "🚂", "helicopter": "🚁", "airplane": "✈",
    "bus": "🚌", "soccer ball": "⚽", "basketball": "🏀", "apple": "🍎", "banana": "🍌",
    "strawberry": "🍓", "watermelon": "🍉", "orange": "🍊", "sunflower": "🌻",
    "mushroom": "🍄", "ghost": "👻", "robot": "🤖", "pumpkin": "🎃", "snowman": "⛄",
    "fire truck": "🚒",
}
# name -> (glyph, hue of the part to repaint in degrees, half width of the hue band)
RECOLOUR = {"car": ("🚗", 356, 22), "scooter": ("🛵", 42, 20), "balloon": ("🎈", 2, 25),
            "umbrella": ("☂", 250, 35), "sailboat": ("⛵", 10, 28)}
# colour -> (hue, saturation factor, value factor)
TINT = {"red": (356, 1.0, 1.0), "orange": (26, 1.0, 1.1), "yellow": (50, 1.0, 1.18),
        "green": (130, 0.95, 0.85), "blue": (214, 1.0, 0.95), "purple": (276, 0.85, 0.85),
        "pink": (332, 0.55, 1.2)}
FLAT = {"red": (222, 36, 42), "orange": (245, 130, 30), "yellow": (250, 212, 40),
        "green": (40, 160, 70), "blue": (36, 100, 225), "purple": (135, 60, 185),
        "pink": (250, 130, 185), "white": (245, 245, 245), "black": (28, 28, 32)}
SHAPES = ["circle", "square", "triangle", "star", "heart"]


def fit(im):
    """Crop to the alpha box, scale the long edge to the texture."""
    box = im.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    im = im.crop(box)
    n = TEX - 2 * MARGIN
    s = n / max(im.size)
    # resize premultiplied, so that no fringe appears
    a = np.asarray(im, np.float32)
    a[..., :3] *= a[..., 3:] / 255
    w, h = max(1, round(im.width * s)), max(1, round(im.height * s))
    ch = [Image.fromarray(a[..., c]).resize((w, h), Image.LANCZOS) for c in range(4)]
    a = np.stack([np.asarray(c) for c in ch], -1).clip(0, 255)
    a[..., :3] = np.minimum(a[..., :3], a[..., 3:])
    out = np.zeros((TEX, TEX, 4), np.float32)
    y, x = (TEX - h) // 2, (TEX - w) // 2
    out[y:y + h, x:x + w] = a
    return out                                   # premultiplied, 0..255


def glyph(ch, font):
    im = Image.new("RGBA", (160, 150), (0, 0, 0, 0))
    ImageDraw.Draw(im).text((6, 6), ch, font=font, embedded_color=True)
    return im


def repaint(im, hue, band, tint):
    a = np.asarray(im).copy()
    hsv = np.asarray(Image.fromarray(a[..., :3]).convert("HSV")).astype(np.float32)
    d = np.abs((hsv[..., 0] * 360 / 255 - hue + 180) % 360 - 180)
    m = (d < band) & (hsv[..., 1] > 70)
    th, ts, tv = tint
    hsv[..., 0] = np.where(m, th * 255 / 360, hsv[..., 0])
    hsv[..., 1] = np.where(m, np.minimum(hsv[..., 1] * ts, 255), hsv[..., 1])
    hsv[..., 2] = np.where(m, np.minimum(hsv[..., 2] * tv, 255), hsv[..., 2])
    rgb = np.asarray(Image.fromarray(hsv.clip(0, 255).astype(np.uint8), mode="HSV").convert("RGB"))
    a[..., :3] = rgb
    return Image.fromarray(a)


def shape(kind, rgb):
    n = 224
    im = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    c = rgb + (255,)
    if kind == "circle":
        d.ellipse((8, 8, n - 8, n - 8), fill=c)
    elif kind == "square":
        d.rectangle((18, 18, n - 18, n - 18), fill=c)
    elif kind == "triangle":
        d.polygon([(n / 2, 10), (n - 10, n - 22), (10, n - 22)], fill=c)
    elif kind == "star":
        p = [(n / 2 + (108 if i % 2 == 0 else 46) * np.sin(i * np.pi / 5),
              n / 2 + 6 - (108 if i % 2 == 0 else 46) * np.cos(i * np.pi / 5)) for i in range(10)]
        d.polygon(p, fill=c)
    else:
        t = np.linspace(0, 2 * np.pi, 120)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        d.polygon([(n / 2 + 6.3 * u, n / 2 - 6 - 6.3 * v) for u, v in zip(x, y)], fill=c)
    return im


def ball(rgb):
    """A shaded ball with a lighter stripe, so that its rotation shows."""
    n = 224
    y, x = np.mgrid[0:n, 0:n]
    u, v = (x - n / 2 + .5) / (n / 2 - 6), (y - n / 2 + .5) / (n / 2 - 6)
    r2 = u * u + v * v
    z = np.sqrt(np.clip(1 - r2, 0, 1))
    light = np.clip(0.55 + 0.5 * (-0.5 * u - 0.6 * v + 0.62 * z), 0.3, 1.25)[..., None]
    base = np.array(rgb, np.float32)[None, None]
    stripe = (np.abs(v + 0.1 * u) < 0.22)[..., None]
    col = np.where(stripe, base * 0.25 + 185, base) * light
    a = np.clip((1 - np.sqrt(r2)) * (n / 2 - 6), 0, 1)[..., None] * 255
    return Image.fromarray(np.concatenate([col.clip(0, 255), a], -1).astype(np.uint8))


def halo(a, radius=2.2, strength=0.45):
    """Soft dark rim below the sprite (premultiplied black): keeps it visible on any ground."""
    al = Image.fromarray(a[..., 3].clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    sh = np.asarray(al, np.float32) * strength
    al = a[..., 3]
    out = a.copy()
    out[..., 3] = al + sh * (1 - al / 255)
    return out


def build():
    font = ImageFont.truetype(FONT, 109)
    names, colours, kinds, tex = [], [], [], []

    def add(name, colour, kind, im):
        names.append(name); colours.append(colour); kinds.append(kind)
        tex.append(halo(fit(im)).clip(0, 255).round().astype(np.uint8))

    for k, g in NATURAL.items():
        add(k, "", "natural", glyph(g, font))
    for k, (g, hue, band) in RECOLOUR.items():
        for c, t in TINT.items():
            add(k, c, "recolour", repaint(glyph(g, font), hue, band, t))
    for c in TINT:
        add("ball", c, "recolour", ball(FLAT[c]))
    for s in SHAPES:
        for c, rgb in FLAT.items():
            add(s, c, "shape", shape(s, rgb))
    return names, colours, kinds, np.stack(tex)


if __name__ == "__main__":
    names, colours, kinds, tex = build()
    np.savez_compressed(sys.argv[1], names=np.array(names), colours=np.array(colours),
                        kinds=np.array(kinds), tex=tex)
    print(len(names), "sprites", tex.shape)
    if len(sys.argv) > 2:                        # a sheet to look at
        cols = 16
        rows = (len(names) + cols - 1) // cols
        sh = np.full((rows * TEX, cols * TEX, 3), (150, 160, 150), np.float32)
        for i, t in enumerate(tex.astype(np.float32)):
            y, x = i // cols * TEX, i % cols * TEX
            sh[y:y + TEX, x:x + TEX] = t[..., :3] + sh[y:y + TEX, x:x + TEX] * (1 - t[..., 3:] / 255)
        Image.fromarray(sh.astype(np.uint8)).save(sys.argv[2])
