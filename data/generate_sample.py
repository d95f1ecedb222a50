#!/usr/bin/env python3
"""Writes data/sample/{train,validation,test}.csv: made-up URLs labelled "Safe" or "Not Safe".

The same seed gives the same bytes on every machine. Names are strung together from syllables and every host lies
under a reserved top-level domain (RFC 2606) or in a documentation network (RFC 5737), so no URL can be anybody's. Each
part of a URL leans towards one class without giving it away, and some labels are wrong, as in real data of this kind.
"""

import argparse
import csv
from pathlib import Path
from random import Random
from typing import Sequence

ROWS = {"train": 700, "validation": 160, "test": 160}
LABEL_NOISE = 0.08
# How often a part of a URL (host, path, end) is in the manner of its own class.
FAITHFULNESS = 0.95

SYLLABLES = "ba cor del en fi gra hul iv jo kel lu mar nex or pri qua ro sel ta ul ven wim yor zan".split()
SECOND_LEVELS = {
    "safe": ["com", "com", "com", "org", "org", "edu", "net", "co", ""],
    "unsafe": ["com", "com", "net", "info", "biz", "xyz", "top", "online", ""],
}
SUBDOMAINS = {
    "safe": ["www", "www", "www", "en", "blog", "docs", "forum", "shop", "news", ""],
    "unsafe": ["www", "secure", "login", "account", "mail", "update", "m", "cdn3", "", ""],
}
TOPICS = """apple archive autumn bicycle bread bridge camera chapter choir coast coffee concert cooking garden guide
harbour history island kitchen lesson library market member mountain museum music news offer order paper photo poem
price recipe report research review river school season service sport story summer support team travel valley village
weather winter""".split()
SAFE_SECTIONS = "articles about blog catalog category docs events forum gallery people products topics wiki help".split()
LURES = """account bank billing client confirm invoice login member online pay secure service signin update verify
wallet""".split()
SITE_INTERNALS = "wp-content wp-includes wp-admin plugins uploads components images tmp cache modules js includes".split()
SAFE_ENDS = ["", "", "", "", ".html", ".html", ".htm", "/", "/", ".aspx", ".php", ".pdf", ".jpg"]
UNSAFE_ENDS = ["", "", "/", ".php", ".php", ".php", ".html", ".html", ".exe", ".apk", ".zip", ".htm", ".cgi"]


class UrlGenerator:
    def __init__(self, seed: int) -> None:
        # random() alone is promised to give the same numbers in every version of Python.
        self._random = Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def between(self, low: int, high: int) -> int:
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[str]) -> str:
        return items[self.between(0, len(items) - 1)]

    def shuffle(self, items: list) -> None:
        for i in range(len(items) - 1, 0, -1):
            j = self.between(0, i)
            items[i], items[j] = items[j], items[i]

    def name(self, low: int = 2, high: int = 4) -> str:
        return "".join(self.pick(SYLLABLES) for _ in range(self.between(low, high)))

    def gibberish(self, low: int, high: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz0123456789") -> str:
        return "".join(self.pick(alphabet) for _ in range(self.between(low, high)))

    def hexadecimal(self, low: int, high: int) -> str:
        return self.gibberish(low, high, "0123456789abcdef")

    def topics(self, low: int, high: int) -> str:
        return self.pick("--_").join(self.pick(TOPICS) for _ in range(self.between(low, high)))

    def host(self, manner: str) -> str:
        if self.chance(0.10 if manner == "unsafe" else 0.02):
            return f"{self.pick(['192.0.2', '198.51.100', '203.0.113'])}.{self.between(1, 254)}"
        site = self.name()
        if self.chance(0.35 if manner == "unsafe" else 0.20):
            site += "-" + (self.pick(LURES) if manner == "unsafe" and self.chance(0.6) else self.pick(TOPICS))
        labels = [self.pick(SUBDOMAINS[manner]), site, self.pick(SECOND_LEVELS[manner])]
        if manner == "unsafe" and self.chance(0.15):
            labels.insert(0, self.name() + self.pick(["-", "."]) + self.pick(LURES))
        labels.append("example" if self.chance(0.8) else "test")
        return ".".join(label for label in labels if label)

    def safe_path(self) -> list[str]:
        kind = self.between(0, 5)
        if kind == 0:
            return []
        if kind == 1:
            return ["blog", str(self.between(2004, 2023)), f"{self.between(1, 12):02}", self.topics(2, 5)]
        if kind == 2:
            return [self.pick(SAFE_SECTIONS), self.topics(1, 3), str(self.between(1, 99999))]
        if kind == 3:
            return ["~" + self.name(), self.topics(1, 2)]
        if kind == 4:
            return [self.pick(["wiki", "people", "team"]), self.name().title() + "_" + self.name().title()]
        return [self.pick(SAFE_SECTIONS) for _ in range(self.between(1, 2))] + [self.topics(1, 4)]

    def unsafe_path(self) -> list[str]:
        kind = self.between(0, 5)
        if kind == 0:
            return [self.gibberish(5, 9)]
        if kind == 1:
            return [self.pick(SITE_INTERNALS) for _ in range(self.between(2, 4))] + [self.pick(LURES)]
        if kind == 2:
            return [self.name(), self.pick(LURES), self.pick(LURES), "index"]
        if kind == 3:
            return [self.pick(SITE_INTERNALS), self.hexadecimal(20, 32), self.pick(["index", "login", "data"])]
        if kind == 4:
            return [self.topics(1, 2), self.gibberish(4, 8)]
        return [self.pick(SITE_INTERNALS), self.pick(LURES) + str(self.between(1, 999))]

    def end(self, manner: str) -> str:
        end = self.pick(SAFE_ENDS if manner == "safe" else UNSAFE_ENDS)
        if not self.chance(0.22):
            return end
        if manner == "safe":
            return end + self.pick([f"?id={self.between(1, 99999)}", f"?q={self.topics(1, 3).replace('-', '+')}",
                                    f"?page={self.between(2, 40)}", f"?lang=en,{self.pick(TOPICS)}"])
        return end + self.pick([f"?session={self.hexadecimal(16, 32)}", f"?cmd=_{self.pick(LURES)}",
                                f"?{self.gibberish(6, 9)}={self.gibberish(6, 9)}",
                                f"?email={self.name()}@{self.name()}.example"])

    def url(self, label: str) -> str:
        other = {"safe": "unsafe", "unsafe": "safe"}[label]

        def manner() -> str:
            return label if self.chance(FAITHFULNESS) else other

        host = self.host(manner())
        path = self.safe_path() if manner() == "safe" else self.unsafe_path()
        scheme = self.pick(["", "", "", "http://", "https://" if manner() == "safe" else "http://"])
        return scheme + "/".join([host, *path]) + (self.end(manner()) if path else self.pick(["", "/"]))


def generate_rows(seed: int, count: int) -> list[tuple[str, str]]:
    generator = UrlGenerator(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = "safe" if generator.chance(0.5) else "unsafe"
        url = generator.url(label)
        if generator.chance(LABEL_NOISE):
            label = {"safe": "unsafe", "unsafe": "safe"}[label]
        rows.setdefault(url, {"safe": "Safe", "unsafe": "Not Safe"}[label])
    result = list(rows.items())
    generator.shuffle(result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path(__file__).parent / "sample")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()

    rows = generate_rows(arguments.seed, sum(ROWS.values()))
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for split, count in ROWS.items():
        with open(arguments.output_dir / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label"])
            writer.writerows(rows[:count])
        rows = rows[count:]


if __name__ == "__main__":
    main()
