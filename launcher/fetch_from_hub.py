"""Fetches a model or a data set from the Hugging Face hub; launcher/fetch runs it."""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fetch_model(name: str) -> None:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name, allow_patterns=["*.json", "*.txt", "*.safetensors"], ignore_patterns=["*/*"]
    )
    if not any(Path(folder).glob("*.safetensors")):
        raise RuntimeError(f"'{name}' has no weights in the safetensors format; {folder} holds its other files")
    print(f"model_name_or_path = \"{name}\"  # {folder}")


def fetch_dataset(name: str, config: str | None, output_dir: Path) -> None:
    import datasets

    splits = datasets.load_dataset(name, config)
    output_dir.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        file = output_dir / f"{split}.csv"
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        rows.to_csv(partial, index=False)
        partial.replace(file)
        print(f"{file}: {rows.num_rows} rows, columns {', '.join(rows.column_names)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher/fetch")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("model").add_argument("name")
    dataset = kinds.add_parser("dataset")
    dataset.add_argument("name")
    dataset.add_argument("--output", type=Path)
    dataset.add_argument("--config")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        if arguments.kind == "model":
            fetch_model(arguments.name)
        else:
            output_dir = arguments.output or ROOT / "data" / arguments.name.rstrip("/").split("/")[-1]
            fetch_dataset(arguments.name, arguments.config, output_dir)
    except Exception as error:
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        sys.exit(f"error: cannot fetch {arguments.kind} '{arguments.name}' from {hub}: {error}\n"
                 "hint: check the name and the network; a private one needs HF_TOKEN")


if __name__ == "__main__":
    main()
