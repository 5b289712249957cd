#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/data/text/tokens.json: [text, ids] pairs by Python's sentencepiece.

Texts are already clean (docs/text.md).  The same lines for the same seed.

usage: tools/make_token_data.py models/tiny/spiece.model > tests/data/text/tokens.json
"""
import json
import random
import sys

import sentencepiece

COLOURS = "red orange yellow green blue purple pink white black golden silver turquoise".split()
OBJECTS = ("dog cat horse cow pig rabbit bear panda lion tiger elephant fish duck turtle butterfly frog penguin whale fox owl bee monkey "
           "bicycle rocket train helicopter airplane bus apple banana strawberry watermelon car scooter balloon umbrella sailboat ball").split()
PLACES = ["on grass", "in the sea", "in the night sky", "in the desert", "on snow", "in the city", "on a brick wall", "in the forest",
          "at sunset", "in the mountains", "on a road", "in heavy fog", "under neon lights", "inside a cathedral"]
STYLES = ["", ", cinematic", ", 35mm film, shallow depth of field", ", in black and white", ", in sepia", ", 4K, ultra-detailed!", " (slow motion)", "; camera pans left",
          " -- by an unknown artist", "? No: a dream...", " \"quoted\" 'twice'", ", f/1.8 @ 1/250s, ISO 400", " & friends", ", 50% grey, #ff8800", " [masterpiece:1.2]", " <b>bold</b>"]
CHINESE = "一只狮子在雪地里奔跑猫狗红色的汽车穿过城市夜晚月光海浪拍打岩石樱花飘落电影感慢镜头特写航拍画面细节丰富光影柔和老人孩子微笑，。！？、；：（）“”"
JAPANESE = "雪の中を走るライオン赤い車が夜の街を駆け抜ける桜の花びらが舞う猫がソファで眠っている美しい夕焼けカメラはゆっくりと動くー、。！？「」ァィゥヴヶ"
KOREAN = "눈 속을 달리는 사자 빨간 자동차가 밤의 도시를 지나간다 벚꽃이 흩날린다 고양이가 잔다."
ARABIC = "أسد يركض في الثلج سيارة حمراء تعبر المدينة ليلاً قطة نائمة على الأريكة، غروب جميل؟"
OTHER = ["Лев бежит по снегу", "Ένα λιοντάρι τρέχει στο χιόνι", "אריה רץ בשלג", "बर्फ में दौड़ता हुआ शेर", "สิงโตวิ่งในหิมะ", "Sư tử chạy trong tuyết", "Löwe läuft über den Schnee, größer als je", "¿Dónde está el león? ¡Aquí!",
         "L'été à la plage, où naît la forêt", "İstanbul'da çılgın bir kış", "Žluťoučký kůň úpěl ďábelské ódy", "სახლი თოვლში", "Ո՞վ է"]
EMOJI = ["😀", "🦁", "❄️", "🏃", "🏃🏽\u200d♀️", "👩\u200d👩\u200d👧", "🇩🇪", "🏳️\u200d🌈", "🎬", "🔥", "✨", "❤️", "☃", "♞", "🀄", "𝒳", "①", "Ⅷ", "½", "㎏", "™", "℃", "…", "—", "«»"]
WORDS = ("the a of and over under through while slowly quickly camera follows tracking shot wide close-up running jumping spinning floating drifting reflection shadow misty glowing "
         "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis x y z WAN FastVMT UMT5 GPU RGB iPhone McDonald's don't it's rock'n'roll co-operate naïve café").split()


def pick(rng, letters, low, high):
    return "".join(rng.choice(letters) for _ in range(rng.randrange(low, high))).strip()


def line(rng):
    kind = rng.randrange(14)
    if kind < 3:
        return f"{rng.choice(['a', 'A', 'the', 'one', 'Two'])} {rng.choice(COLOURS)} {rng.choice(OBJECTS)} {rng.choice(PLACES)}{rng.choice(STYLES)}"
    if kind == 3:
        return " ".join(rng.choice(WORDS + OBJECTS + COLOURS) for _ in range(rng.randrange(1, 30))) + rng.choice([".", "!", "", "?!", " ;)"])
    if kind == 4:
        return pick(rng, CHINESE, 1, 60)
    if kind == 5:
        return pick(rng, JAPANESE, 1, 60)
    if kind == 6:
        return rng.choice([pick(rng, KOREAN, 2, 30), pick(rng, ARABIC, 2, 50), rng.choice(OTHER)])
    if kind == 7:
        return " ".join(rng.choice(EMOJI) for _ in range(rng.randrange(1, 8)))
    if kind == 8:
        return "".join(rng.choice([rng.choice(EMOJI), rng.choice(OBJECTS), pick(rng, CHINESE, 1, 5), " ", rng.choice(OTHER)[:7], "1", "-"]) for _ in range(rng.randrange(2, 20))).strip()
    if kind == 9:
        return rng.choice([str(rng.randrange(10 ** rng.randrange(1, 15))), f"{rng.random():.6f}", f"{rng.randrange(100)}:{rng.randrange(60):02d}", f"{rng.randrange(9999)}x{rng.randrange(9999)}", f"v{rng.randrange(9)}.{rng.randrange(30)}-rc{rng.randrange(9)}"])
    if kind == 10:
        return pick(rng, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ▁", 1, 25)
    if kind == 11:
        return "".join(chr(c) for c in (rng.choice([rng.randrange(0x21, 0x500), rng.randrange(0x900, 0x3000), rng.randrange(0x3001, 0xd800), rng.randrange(0xe000, 0x10000), rng.randrange(0x10000, 0x20000)])
                                        for _ in range(rng.randrange(1, 20))))
    if kind == 12:
        return pick(rng, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 1, 40)
    text = f"{rng.choice(COLOURS)} {rng.choice(OBJECTS)}"
    return rng.choice([text.upper(), text.title(), text.replace(" ", "  "), " " + text, text + " ", text.replace(" ", "\u00a0"), text.replace(" ", "\t"), text + "</s>", "<pad>" + text, "<s> " + text + " <unk>"])


def main():
    model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
    rng = random.Random(7)
    lines = ["", " ", "a", "▁", "</s>"]
    while len(lines) < 2400:
        lines.append(line(rng))
    lines += [" ".join(rng.choice(WORDS + OBJECTS) for _ in range(600)), pick(rng, CHINESE, 1500, 1501), "a" * 3000, "😀" * 700, "e\u0301" * 800]
    print("[" + ",\n".join(json.dumps([t, model.encode(t)], ensure_ascii=False, separators=(",", ":")) for t in lines) + "]")


if __name__ == "__main__":
    main()
