"""What the tokenizer tests share: model folders, PyPI's tokenizers as the oracle, and our program's answers."""

import json
import os
import random
import subprocess
from pathlib import Path

from tokenizers import Tokenizer

TOKENIZE_LINES = os.environ["TOKENIZE_LINES"]
REAL_DATA = Path(os.environ["BERTDIST_REAL_DATA"])
MINILM = Path(os.environ["BERTDIST_MINILM"])
LONG_TESTS = os.environ.get("BERTDIST_LONG_TESTS") == "1"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ALPHABET = [chr(c) for c in range(33, 127)] + list("äéñüßİıſΣσςДдёйאבुीहिअआ中文日本語한국어がカ①Ⅷ€—…“”") + ["\u0301", "\u0327", "\u302e"]
WORDS = "the of and to in is was for on that with as at by from un able aff play ing ed er s est new york http www com free".split()


def added(content, **flags):
    flags = {**dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False), **flags}
    return dict(content=content, id=0, **flags)


def small_vocab():
    words = ALPHABET + WORDS + ["fran", "naive", "über", "uber", "e", "i̇", "##"]
    pieces = SPECIAL + list(dict.fromkeys(words)) + ["##" + piece for piece in dict.fromkeys(ALPHABET + WORDS)]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def special_part(token, type_id):
    return dict(SpecialToken=dict(id=token, type_id=type_id))


def text_part(name, type_id):
    return dict(Sequence=dict(id=name, type_id=type_id))


def tokenizer_json(vocab=None, added_tokens=(), clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True,
                   max_input_chars_per_word=100):
    """A tokenizer.json as Hugging Face writes it for BERT."""
    vocab = vocab or small_vocab()
    ids = {token: dict(id=token, ids=[vocab[token]], tokens=[token]) for token in ("[CLS]", "[SEP]")}
    single = [special_part("[CLS]", 0), text_part("A", 0), special_part("[SEP]", 0)]
    return dict(
        version="1.0", truncation=None, padding=None,
        added_tokens=[dict(added(token, special=True), id=vocab[token]) for token in SPECIAL] + list(added_tokens),
        normalizer=dict(type="BertNormalizer", clean_text=clean_text, handle_chinese_chars=handle_chinese_chars,
                        strip_accents=strip_accents, lowercase=lowercase),
        pre_tokenizer=dict(type="BertPreTokenizer"),
        post_processor=dict(type="TemplateProcessing", single=single,
                            pair=single + [text_part("B", 1), special_part("[SEP]", 1)], special_tokens=ids),
        decoder=dict(type="WordPiece", prefix="##", cleanup=True),
        model=dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##",
                   max_input_chars_per_word=max_input_chars_per_word, vocab=vocab))


def write_folder(folder, definition):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    return folder


def load_reference(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def our_rows(folder, rows, max_seq_length=512, strategy="longest_first"):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([TOKENIZE_LINES, str(folder), str(max_seq_length), strategy], input=lines, text=True,
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def their_rows(tokenizer, rows, max_seq_length=512, strategy="longest_first"):
    tokenizer.enable_truncation(max_seq_length, strategy=strategy)
    inputs = [row["text"] if row.get("pair") is None else (row["text"], row["pair"]) for row in rows]
    return [dict(ids=e.ids, type_ids=e.type_ids) for e in tokenizer.encode_batch(inputs)]


def assert_same(folder, rows, max_seq_length=512, strategy="longest_first", tokenizer=None):
    rows = list(rows)
    ours = our_rows(folder, rows, max_seq_length, strategy)
    theirs = their_rows(tokenizer or load_reference(folder), rows, max_seq_length, strategy)
    assert len(ours) == len(theirs) == len(rows)
    different = [(row, a, b) for row, a, b in zip(rows, ours, theirs)
                 if a.get("ids") != b["ids"] or a.get("type_ids") != b["type_ids"]]
    assert not different, f"{len(different)} of {len(rows)} rows differ, the first: {different[:3]}"


def code_point_rows(every=True):
    """Each code point alone, between letters and between marks; many a row, since a row costs more than a word.
    With every=False without the planes that hold little but ideographs, private use and nothing."""
    code_points = [c for c in CODE_POINTS if every or c < 0x20000 or 0x2F800 <= c < 0x30000 or 0xE0000 <= c < 0xE1000]
    for i in range(0, len(code_points), 256):
        chars = [chr(c) for c in code_points[i : i + 256]]
        yield dict(text=" ".join(chars))
        yield dict(text=" ".join(f"a{char}b" for char in chars))
        yield dict(text=" ".join(f"E\u0327{char}\u302e\u0301\u0327z" for char in chars))


def random_text(rng, extra=()):
    parts = []
    for _ in range(rng.randrange(24)):
        kind = rng.random()
        if kind < 0.3:
            parts.append(rng.choice(WORDS))
        elif kind < 0.5:
            parts.append(chr(rng.randrange(0x20, 0x7F)) * rng.choice((1, 1, 1, 3)))
        elif kind < 0.6:
            parts.append(rng.choice((" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\x00", "\ufffd", "\x85")))
        elif kind < 0.7:
            parts.append(chr(rng.randrange(0xA0, 0x600)))
        elif kind < 0.76:
            parts.append(chr(rng.choice((0x300, 0x307, 0x315, 0x323, 0x327, 0x345, 0x302E, 0x16FF0, 0x8D4, 0x1D165, 0x5B0))))
        elif kind < 0.84:
            parts.append(chr(rng.choice((rng.randrange(0x600, 0xD800), rng.randrange(0xE000, 0x20000),
                                         rng.randrange(0x20000, 0x110000)))))
        elif kind < 0.9:
            parts.append(chr(rng.randrange(0x4E00, 0x9FFF)))
        elif kind < 0.97:
            parts.append(rng.choice(SPECIAL + list(extra)))
        else:
            parts.append(rng.choice("xé") * rng.randrange(90, 110))
    return "".join(parts)


def random_rows(seed, count, extra=()):
    rng = random.Random(seed)
    for _ in range(count):
        pair = random_text(rng, extra) if rng.random() < 0.4 else None
        yield dict(text=random_text(rng, extra), pair=pair)
