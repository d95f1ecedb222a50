"""Writes unicode_tables.cpp: the sets of code points as the PyPI package `tokenizers` sees them.

Its Rust libraries have each a Unicode version of their own (8, 9, 16 and 17 in tokenizers 0.23), and a token id must not
depend on the version that the system's utf8proc has. So the sets are measured, one code point at a time, and written down.

    python src/tokenizer/generate_unicode_tables.py > src/tokenizer/unicode_tables.cpp
"""

import json

import tokenizers
from tokenizers import Tokenizer, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def normalizer(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**options, **on}).normalize_str


def word_tokenizer():
    """Finds the token '|' only where no word character touches it."""
    added = dict(id=1, content="|", single_word=True, lstrip=False, rstrip=False, normalized=False, special=False)
    model = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100)
    return Tokenizer.from_str(json.dumps(dict(
        version="1.0", added_tokens=[added], normalizer=None, pre_tokenizer=dict(type="BertPreTokenizer"),
        post_processor=None, decoder=None, model=dict(model, vocab={"[UNK]": 0}))))


def measure():
    clean, chinese, strip = normalizer(clean_text=True), normalizer(handle_chinese_chars=True), normalizer(strip_accents=True)
    nfd = normalizers.NFD().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    whole_word = word_tokenizer()
    sets = {name: [] for name in ("removed_by_clean_text", "whitespace", "chinese", "nonspacing_marks",
                                  "reordered_by_nfd", "decomposed_by_nfd", "punctuation", "word_characters")}
    for c in CODE_POINTS:
        char = chr(c)
        pieces = [piece for piece, _ in split(f"a{char}b")]
        decomposed = nfd(char)
        cedilla_like, iota = "\u0334", "\u0345"  # combining classes 1 and 240, the lowest and the highest
        moves = nfd(char + cedilla_like) != char + cedilla_like or nfd(iota + char) != iota + char
        for name, member in (
            ("removed_by_clean_text", clean(char) == ""),
            ("whitespace", pieces == ["a", "b"]),
            ("chinese", chinese(char) != char),
            ("nonspacing_marks", strip(char) == ""),
            ("reordered_by_nfd", decomposed == char and strip(char) != "" and moves),
            ("decomposed_by_nfd", decomposed != char),
            ("punctuation", pieces == ["a", char, "b"]),
            ("word_characters", c != ord("|") and 1 not in whole_word.encode(char + "|").ids),
        ):
            if member:
                sets[name].append(c)
    return sets


def ranges(code_points):
    found = []
    for c in code_points:
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def table(name, code_points):
    lines, line = [], "   "
    for first, last in ranges(code_points):
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 120:
            lines.append(line)
            line = "   "
        line += item
    lines.append(line)
    return f"constexpr CodePointRange {name}_ranges[] = {{\n" + "\n".join(lines) + "\n};\n"


def main():
    sets = measure()
    print(f"// Written by generate_unicode_tables.py from tokenizers {tokenizers.__version__}; not to be edited by hand.")
    print('#include "tokenizer/unicode_tables.h"\n\nnamespace bertdist::unicode_tables {\nnamespace {\n\n// clang-format off')
    print("\n".join(table(name, code_points) for name, code_points in sets.items()), end="")
    print("// clang-format on\n\n}  // namespace\n")
    for name in sets:
        print(f"const std::span<const CodePointRange> {name} = {name}_ranges;")
    print("\n}  // namespace bertdist::unicode_tables")


if __name__ == "__main__":
    main()
