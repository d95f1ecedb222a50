"""The sample in data/ is exactly what its generator writes, and fit to be shown."""

import csv
import ipaddress
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

DATA = Path(__file__).parents[2] / "data"
SPLITS = ["train", "validation", "test"]
DOCUMENTATION_NETWORKS = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def rows(split):
    with open(DATA / "sample" / f"{split}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_generator_writes_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, DATA / "generate_sample.py", "--output_dir", tmp_path], check=True)
    for split in SPLITS:
        assert (tmp_path / f"{split}.csv").read_bytes() == (DATA / "sample" / f"{split}.csv").read_bytes()


def test_splits_are_large_enough_disjoint_and_balanced():
    assert [len(rows(split)) for split in SPLITS] == [700, 160, 160]
    assert len({row["text"] for split in SPLITS for row in rows(split)}) == 1020
    for split in SPLITS:
        counts = Counter(row["label"] for row in rows(split))
        assert counts.keys() == {"Safe", "Not Safe"}
        assert min(counts.values()) > 0.4 * counts.total()


def test_no_url_can_be_anybodys():
    for split in SPLITS:
        for row in rows(split):
            url = row["text"]
            host = urlsplit(url if "://" in url else f"//{url}").hostname
            if host[0].isdigit():
                assert any(ipaddress.ip_address(host) in network for network in DOCUMENTATION_NETWORKS), url
            else:
                assert host.rsplit(".")[-1] in ("example", "test"), url


def test_no_single_feature_gives_the_label_away():
    """The best word a one-word rule could pick is far from enough."""
    training = rows("train")
    for word in {"login", "wp-", ".php", ".html", "http://", "www.", "secure", "blog", "?", "-"}:
        hits = sum((word in row["text"]) == (row["label"] == "Not Safe") for row in training)
        assert 0.2 < hits / len(training) < 0.8, word
