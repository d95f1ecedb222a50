"""Ids against PyPI's tokenizers, with a small vocabulary of the test's own."""

import itertools
import json
import math
import random

import pytest
from tokenizers import Tokenizer
from tokenizer_reference import (LONG_TESTS, added, assert_same, code_point_rows, load_reference, our_rows, random_rows,
                                 small_vocab, tokenizer_json, write_folder)

NORMALIZERS = [dict(lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=handle_chinese_chars)
               for lowercase, strip_accents, handle_chinese_chars in itertools.product((True, False), (None, True, False), (True, False))]
ADDED = [
    added("<url>"), added("<url"), added("Zoë", normalized=True), added("new york", normalized=True), added("|w|", single_word=True),
    added("<l>", lstrip=True), added("<r>", rstrip=True, special=True), added(" <s>"), added("word", single_word=True, normalized=True),
    added("É", normalized=False), added("free", normalized=False), added("中文", normalized=True)]


@pytest.mark.parametrize("options", NORMALIZERS + [dict(clean_text=False), dict(clean_text=False, lowercase=False)], ids=str)
def test_every_code_point(tmp_path, options):
    every = LONG_TESTS or options in (NORMALIZERS[0], NORMALIZERS[-1])
    assert_same(write_folder(tmp_path, tokenizer_json(**options)), code_point_rows(every), max_seq_length=100_000)


@pytest.mark.parametrize("options", NORMALIZERS, ids=str)
def test_random_strings(tmp_path, options):
    folder = write_folder(tmp_path, tokenizer_json(added_tokens=ADDED, **options))
    count = math.ceil((1_000_000 if LONG_TESTS else 50_000) / len(NORMALIZERS))
    rows = random_rows(repr(options), count, [token["content"] for token in ADDED] + ["NEW YORK", "zoe", "WORD", "<S>"])
    assert_same(folder, rows)


@pytest.mark.parametrize("max_seq_length", [3, 4, 5, 6, 7, 8, 12, 13, 30])
def test_longest_first(tmp_path, max_seq_length):
    folder = write_folder(tmp_path, tokenizer_json())
    texts = ["a " * n for n in (0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 40)]
    rows = [dict(text=text, pair=pair) for text, pair in itertools.product(texts, [None] + texts)]
    assert_same(folder, itertools.chain(rows, random_rows(max_seq_length, 500)), max_seq_length)


@pytest.mark.parametrize("max_seq_length", [3, 4, 7, 12])
def test_only_first(tmp_path, max_seq_length):
    folder = write_folder(tmp_path, tokenizer_json())
    reference = load_reference(folder)
    reference.enable_truncation(max_seq_length, strategy="only_first")
    lengths = (0, 1, 2, 3, 4, 5, 8, 9, 20)
    rows = [dict(text="a " * n, pair=None if m is None else "b " * m) for n, m in itertools.product(lengths, (None, *lengths))]
    for row, ours in zip(rows, our_rows(folder, rows, max_seq_length, "only_first")):
        try:
            theirs = reference.encode(row["text"], row["pair"])
        except Exception:  # tokenizers raises it bare
            assert "second text alone has" in ours["error"] and ours["exit_code"] == 3, row
        else:
            assert ours["ids"] == theirs.ids and ours["type_ids"] == theirs.type_ids, row


def test_length_without_room_for_special_tokens(tmp_path):
    folder = write_folder(tmp_path, tokenizer_json())
    too_short, fits, pair_too_short = our_rows(folder, [dict(text="a", max_seq_length=1), dict(text="a", max_seq_length=2),
                                                        dict(text="a", pair="b", max_seq_length=2)])
    assert "no room" in too_short["error"] and too_short["exit_code"] == 2
    assert fits["ids"] == [2, 3]
    assert "no room" in pair_too_short["error"]


def test_words_at_the_length_limit(tmp_path):
    folder = write_folder(tmp_path, tokenizer_json(max_input_chars_per_word=5))
    words = ["a" * n for n in range(1, 8)] + ["ü" * n for n in range(1, 8)] + ["\U0001d565" * 6, "aaaaa!", "aaaaaa!a"]
    assert_same(folder, [dict(text=word) for word in words])


def test_words_of_every_length_at_every_place(tmp_path):
    """Bytes are read 64 at a time, and short words are remembered: what lies across two blocks or at a limit."""
    folder = write_folder(tmp_path, tokenizer_json(max_input_chars_per_word=140))
    lengths = [*range(1, 20), *range(60, 68), *range(124, 132)]
    words = [letters * n for n, letters in itertools.product(lengths, ("a", "B"))] + ["a" * n + "é" for n in lengths]
    gaps = [" " * n for n in range(66)] + ["." * n for n in range(66)]
    assert_same(folder, (dict(text=f"{gap}{word}! the {word}") for gap, word in itertools.product(gaps, words)))


@pytest.mark.parametrize("clean_text", [True, False])
def test_words_that_differ_in_a_zero_byte(tmp_path, clean_text):
    folder = write_folder(tmp_path, tokenizer_json(clean_text=clean_text))
    assert_same(folder, [dict(text=text) for text in ("the", "the\0", "the\0\0", "\0the", "the", "the\0")])


def test_ids_of_added_tokens(tmp_path):
    """An added token keeps the vocabulary's id, or gets the next free one, whatever id the file gives it."""
    vocab = {**small_vocab(), "far": 700}
    tokens = [added("<one>"), added("far"), added("<two>"), added("a", single_word=True), added("<one>", lstrip=True),
              added("x", normalized=True), added("x", special=True)]
    folder = write_folder(tmp_path, tokenizer_json(vocab, tokens))
    texts = ["<one><two>", "b <one> far a ba afar", "x X", "a<one>", " <two> <one>a"]
    assert_same(folder, [dict(text=text) for text in texts])


def test_truncation_and_padding_of_the_file_are_ignored(tmp_path):
    definition = tokenizer_json()
    definition["truncation"] = dict(max_length=4, strategy="LongestFirst", stride=0, direction="Right")
    definition["padding"] = dict(strategy=dict(Fixed=16), direction="Right", pad_to_multiple_of=None, pad_id=0, pad_type_id=0,
                                 pad_token="[PAD]")
    assert_same(write_folder(tmp_path, definition), [dict(text="a b c d e f")])


def test_other_templates(tmp_path):
    bert = tokenizer_json()
    bert["post_processor"] = dict(type="BertProcessing", sep=["[SEP]", 3], cls=["[CLS]", 2])
    masked = tokenizer_json()
    masked["post_processor"]["special_tokens"]["[CLS]"].update(ids=[2, 4], tokens=["[CLS]", "[MASK]"])
    masked["post_processor"]["pair"][0]["SpecialToken"]["type_id"] = 1
    for number, definition in enumerate((bert, masked)):
        folder = write_folder(tmp_path / str(number), definition)
        assert_same(folder, random_rows(number, 300), max_seq_length=9)


def mangled(rng):
    text = bytearray("".join(rng.choice("aé中\U0001d565 ") for _ in range(12)).encode())
    for _ in range(rng.randrange(4)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text[: rng.randrange(len(text) + 1)])


@pytest.mark.parametrize("clean_text", [True, False])
def test_invalid_utf8(tmp_path, clean_text):
    rng = random.Random(7)
    fixed = [b"a\xffb", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xe0\x80a", b"\x80\x80",
             "a\ufffd".encode(), b"[CLS\xff]", b"\xf0\x9f[SEP]"]
    texts = fixed + [mangled(rng) for _ in range(5000)]
    vocab = {**small_vocab(), "\ufffd": 900, "##\ufffd": 901}
    folder = write_folder(tmp_path, tokenizer_json(vocab, clean_text=clean_text))
    ours = our_rows(folder, [dict(text=dict(bytes=list(text))) for text in texts])
    reference = load_reference(folder)
    for text, row in zip(texts, ours):
        as_python_reads_it = text.decode("utf-8", errors="replace")
        assert row["ids"] == reference.encode(as_python_reads_it).ids, text
        genuine = text.count("\ufffd".encode())
        assert row["replaced"] == as_python_reads_it.count("\ufffd") - genuine, text


@pytest.mark.parametrize("config", [
    {}, dict(do_lower_case=False), dict(strip_accents=False), dict(do_lower_case=False, strip_accents=True),
    dict(tokenize_chinese_chars=False), dict(unk_token=dict(__type="AddedToken", content="[UNK]", lstrip=False, rstrip=False, single_word=False, normalized=False), cls_token="[CLS]"),
    dict(additional_special_tokens=["<url>", "the"]), dict(pad_token="<pad>", mask_token="<mask>"),
    dict(added_tokens_decoder={"0": dict(content="[PAD]", special=True, normalized=False),
                               "400": dict(content="Zoë", special=False, normalized=True, lstrip=True)}),
], ids=str)
def test_vocab_txt_as_bert_tokenizer_fast(tmp_path, config):
    from transformers import BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(small_vocab()) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = BertTokenizerFast.from_pretrained(str(tmp_path)).backend_tokenizer
    rows = random_rows("vocab.txt", 400, ["<url>", "Zoë", "zoe", "<pad>", "<mask>"])
    assert_same(tmp_path, rows, tokenizer=Tokenizer.from_str(theirs.to_str()))


@pytest.mark.parametrize("files", [
    dict(added_tokens={"Zoë": 400, "<url>": 401}),
    dict(added_tokens={"<url>": 400, "<m>": 401}, special_tokens_map=dict(mask_token="<m>", extra_special_tokens=["<url>"])),
    dict(special_tokens_map=dict(cls_token="the", additional_special_tokens=["<url>", "zoe"])),
    dict(special_tokens_map=dict(sep_token=dict(content="<m>", lstrip=True, rstrip=False, single_word=False,
                                                normalized=False)), tokenizer_config=dict(sep_token="[SEP]")),
    dict(special_tokens_map=dict(mask_token="<m>"), added_tokens={"<url>": 400},
         tokenizer_config=dict(added_tokens_decoder={"400": dict(content="Zoë", special=False, normalized=True)})),
], ids=str)
def test_vocab_txt_with_the_files_of_older_transformers(tmp_path, files):
    from transformers import BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(small_vocab()) + "\n", encoding="utf-8")
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    theirs = BertTokenizerFast.from_pretrained(str(tmp_path)).backend_tokenizer
    rows = random_rows("legacy", 400, ["<url>", "Zoë", "zoe", "<m>", "<URL>", "the"])
    assert_same(tmp_path, rows, tokenizer=Tokenizer.from_str(theirs.to_str()))


def test_vocab_txt_with_lines_of_whitespace(tmp_path):
    from transformers import BertTokenizerFast

    lines = [*list(small_vocab())[:5], "\u2028", "a", "", "b \t", "\u3000"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(additional_special_tokens=["<new>"])))
    theirs = BertTokenizerFast.from_pretrained(str(tmp_path)).backend_tokenizer
    assert_same(tmp_path, [dict(text="a b <new> \u2028 c")], tokenizer=Tokenizer.from_str(theirs.to_str()))


def test_vocab_txt_with_windows_line_ends_and_no_config(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(small_vocab()).encode())
    reference = write_folder(tmp_path / "reference", tokenizer_json())
    assert_same(tmp_path, random_rows("crlf", 200), tokenizer=load_reference(reference))

