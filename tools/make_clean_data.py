#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/data/text/clean.json: pairs [prompt, what the official cleaning makes of it].

Needs ftfy 6 (6.3.1 was used, Python 3.11).  Official: ftfy.fix_text, here without the repair of
wrongly decoded text; html.unescape twice; strip; white space to one blank.  The strings are the
listed ones and random mixtures of the fragments, always the same for a seed.

usage: tools/make_clean_data.py [COUNT] [SEED] > tests/data/text/clean.json
"""
import html
import json
import random
import re
import sys

import ftfy

CONFIG = ftfy.TextFixerConfig(fix_encoding=False, restore_byte_a0=False, replace_lossy_sequences=False,
                              decode_inconsistent_utf8=False, explain=False)


def official(text):
    text = ftfy.fix_text(text, CONFIG)
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()


LISTED = [
    "", " ", "a", "a lion runs through snow", "  two  blanks\tand\na tab ", "\n\n\n", "A cat, sitting; still.",
    "&amp;", "&amp;amp;", "&amp;amp;amp;", "&amp;amp;amp;amp;lt;", "&lt;b&gt; & more", "<b>&amp;amp;</b>", "x &eacute; < y &eacute;",
    "&EACUTE;", "P&EACUTE;REZ", "&SZLIG;", "&nTILDE;", "&eacute", "&eacuteX", "&notit;", "&notin;", "&not", "&no", "&n",
    "&#62;", "&#62", "&#x3e;", "&#X3E", "&#x3E;;", "&#59;", "&#x3b;", "&#0;", "&#13;", "&#x80;", "&#x81;", "&#x9f;", "&#1;", "&#xb;",
    "&#xfdd0;", "&#xffff;", "&#x10ffff;", "&#x110000;", "&#xd800;", "&#55357;&#56489;", "&#99999999999999999999;", "&#;", "&#x;", "&#xg;",
    "&#12ab;", "& amp;", "&", "&&", "&;", "&&amp;", "&amp&lt&gt", "&CounterClockwiseContourIntegral;", "&NotEqualTilde;", "&ngE;",
    "&abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz;", "&lt;&#60;&LT;&LT", "&nbsp;x&nbsp;", "a&NewLine;b&Tab;c", "&zwj;|&ZWJ;|&shy;",
    "\x1b[31mred\x1b[0m", "\x1b[1;32mbold", "\x1b[", "\x1b[12", "\x1b[\u0663m arabic digit", "\x1b\x1b[mm", "\x1b[3&#49;m x",
    "ﬂuﬃeﬆ ﬀ ﬁ ﬄ ﬅ", "Ĳssel ĳs ŉ Ǳ ǲ ǳ Ǆ ǅ ǆ Ǉ ǈ ǉ Ǌ ǋ ǌ", "ＬＯＵＤ　ＮＯＩＳＥＳ", "Ｕﾀｰﾝ ｶﾞ ﾊﾟ", "￠￡￢￣￤￥￦￨￩￪￫￬￭￮", "ﾡﾢﾣￂￃￜﾠ", "＆ａｍｐ；", "＆amp；＃",
    "“curly” ‘quotes’ ‚low‛ „low‟ ʼn", "a\r\nb\rc\u2028d\u2029e\x85f", "\r\r\n\n\r", "\x80\x81\x82\x91\x92\x93\x94\x99\x9f", "bell\x07 del\x7f nul-free \x0b\x0c\x1c\x1d\x1e\x1f",
    "\ufeffbom\ufeff", "\u206a\u206f\ufff9\ufffa\ufffb\ufffc\ufffd", "e\u0301 o\u0308 n\u0303 a\u030a", "\u1e9b\u0323 \u0041\u0327\u0301\u0328", "\u1100\u1161\u11a8 \uac00\u11a8",
    "\u0958 \u2126 \u212b \u2adc \ufb1d \U0001d15e", "\u0301\u0327\u0301 leading marks", "a\u200bb\u200cc\u200dd\u2060e", "\xa0\u1680\u2000\u200a\u202f\u205f\u3000x\u3000",
    "一只狮子在雪地里奔跑。", "雪の中を走るライオン", "أسد يركض في الثلج", "사자가 눈 속을 달린다", "👩\u200d👩\u200d👧 🏳️\u200d🌈 🇩🇪 👍🏽", "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "Ã© schön â€™ mojibake stays", "don&rsquo;t &ldquo;go&rdquo; &hellip; &mdash; &frac12;", "&amp;#39;quoted&amp;#39;", "&amp;amp;#x27;", "&Amp; &AMP; &aMP;",
    "line one < two\n&eacute; after", "&eacute; before\nline < two\n&eacute; after", "a&#10;b", "a&#x2028;b", "&#x0d;&#x0a;", "&fjlig; &ThickSpace; &NonBreakingSpace;",
    "5 &lt 6 &ampx &copy2024 &copysr; &times2", "&#x1F600;&#128512;", "ǅ&#xfb01;", "&quot;&apos;&QUOT;&APOS;",
]

FRAGMENTS = [
    "lion", "snow", " ", "  ", "\n", "\t", ",", ".", "!", "?", "&", ";", "#", "<", ">", "x", "X", "&amp;", "&lt;", "&#", "&#x", "41", "a1", "&eacute", ";",
    "&EACUTE;", "&hellip;", "&nbsp;", "&#39;", "&#x27;", "&#8217;", "&quot;", "&not", "in;", "\x1b[", "3", "1", "m", "\r\n", "\r", "\x85", "\u2028", "“", "”",
    "’", "ﬁ", "ﬃ", "Ａ", "１", "；", "＆", "＃", "ｶ", "ﾞ", "ﾟ", "\u3000", "\xa0", "e", "\u0301", "\u0323", "\u0308", "\u1100", "\u1161", "\u11a8", "가", "猫", "ネコ",
    "قطة", "кот", "😀", "\u200d", "\ufe0f", "\ufeff", "\x07", "\x7f", "\x93", "\x81", "ß", "ŉ", "\u2029", "\u200b", "amp", "lt", "&AMP", "\x0b", "\x0c", "\x1f", "\u0345", "\u0344", "Å",
]


def random_text(rng):
    def piece():
        kind = rng.random()
        if kind < 0.85:
            return rng.choice(FRAGMENTS)
        if kind < 0.92:
            return "&" + rng.choice(sorted(html.entities.html5)).swapcase() if kind < 0.87 else "&" + rng.choice(sorted(html.entities.html5))
        code = rng.choice([rng.randrange(1, 0x500), rng.randrange(0x2000, 0x3100), rng.randrange(0xf900, 0x10000), rng.randrange(1, 0x2ff00)])
        return "" if 0xd800 <= code < 0xe000 else chr(code)
    return "".join(piece() for _ in range(rng.randrange(1, 40)))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 700
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    texts = LISTED + [random_text(rng) for _ in range(count - len(LISTED))]
    print("[" + ",\n".join(json.dumps([t, official(t)]) for t in texts) + "]")


if __name__ == "__main__":
    main()
