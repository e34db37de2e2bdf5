"""Reads both exports of a store with pyarrow and Hugging Face `datasets` and compares them row by row with the manifest.

    pip install datasets pillow pyarrow
    pq-collect export /tmp/folder && pq-collect export /tmp/parquet --format parquet
    python benches/collect/check_export.py --raw data/raw --folder /tmp/folder --parquet /tmp/parquet
"""

import argparse
import hashlib
import json
import pathlib
import struct
import tempfile

import datasets
import pyarrow.parquet


def pixels_sha256(image):
    image = image.convert("RGB")
    return hashlib.sha256(struct.pack("<II", *image.size) + image.tobytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", type=pathlib.Path, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--parquet", required=True)
    args = parser.parse_args()
    slides = {}
    for line in (args.raw / "manifest.jsonl").read_text().splitlines():
        slide = json.loads(line)
        slides[slide["slide_id"]] = slide
    usable = {key for key, slide in slides.items() if not slide["duplicate_of"] and not slide["excluded"]}
    with tempfile.TemporaryDirectory() as cache:
        folder = datasets.load_dataset(args.folder, cache_dir=cache)
        parquet = datasets.load_dataset(args.parquet, cache_dir=cache)
        assert set(folder) == set(parquet), (set(folder), set(parquet))
        seen = set()
        for split in parquet:
            ours, theirs = parquet[split], folder[split]
            assert isinstance(ours.features["image"], datasets.Image), ours.features
            columns = set(ours.column_names)
            assert columns == set(theirs.column_names), columns ^ set(theirs.column_names)
            others = {row["slide_id"]: row for row in theirs}
            for row in ours:
                slide, other = slides[row["slide_id"]], others.pop(row["slide_id"])
                seen.add(row["slide_id"])
                assert pixels_sha256(row["image"]) == slide["sha256"] == pixels_sha256(other["image"])
                for column in columns - {"image", "collected_at"}:
                    assert row[column] == other[column], (row["slide_id"], column, row[column], other[column])
            assert not others
            print(f"{split}: {len(ours)} rows, {len(columns)} columns, images equal in both")
        assert seen <= usable, seen - usable
        print(f"{len(seen)} of {len(usable)} usable slides exported")
    for path in sorted(pathlib.Path(args.parquet).glob("data/*.parquet")):
        file = pyarrow.parquet.ParquetFile(path)
        print(path.name, file.metadata.num_rows, "rows in", file.metadata.num_row_groups, "row groups")


if __name__ == "__main__":
    main()
