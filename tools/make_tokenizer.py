#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains a SentencePiece model laid out as the official one of google/umt5-xxl.

Unigram, <pad> 0, </s> 1, <s> 2, <unk> 3, byte fallback, nmt_nfkc normalisation, <extra_id_*> symbols.  It is
for model folders of tests: the pieces are learnt from the English lines of tests/data/text/tokens.json.
--rules trains with two normalisation rules of its own instead (a small file, a seed for fuzzing).

Needs Python's sentencepiece.  usage: tools/make_tokenizer.py OUT.model [--pieces 600] [--rules]
"""
import argparse
import io
import json
import pathlib
import tempfile

import sentencepiece

TEXTS = pathlib.Path(__file__).resolve().parent.parent / "tests/data/text/tokens.json"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--pieces", type=int, default=600)
    parser.add_argument("--rules", action="store_true")
    args = parser.parse_args()

    texts = [pair[0] for pair in json.loads(TEXTS.read_text(encoding="utf-8")) if len(pair[0]) < 400 and pair[0].isascii()]
    options = {"normalization_rule_name": "nmt_nfkc"}
    with tempfile.TemporaryDirectory() as folder:
        if args.rules:
            rules = pathlib.Path(folder) / "rules.tsv"
            rules.write_text("41\t61\n41 41\t61 62\n", encoding="utf-8")  # A -> a, AA -> ab
            options = {"normalization_rule_tsv": str(rules)}
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type="unigram", vocab_size=args.pieces,
            character_coverage=1.0, byte_fallback=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3, num_threads=1,
            user_defined_symbols=[f"<extra_id_{i}>" for i in range(8)], hard_vocab_limit=False,
            minloglevel=2, **options)
    pathlib.Path(args.out).write_bytes(model.getvalue())


if __name__ == "__main__":
    main()
