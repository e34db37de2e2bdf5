"""Compares the pages that pq-collect stored with pdftoppm (poppler-utils) and PDFium (pypdfium2).

    pip install numpy pillow pypdfium2 scikit-image
    python benches/collect/compare_renderers.py --raw data/raw --out /tmp/compare DECK.pdf ...

Similarity is SSIM of the grey pages at a quarter of the size; the lowest ten pages of each comparison are put side by side
into OUT. The decks must have been collected into RAW before.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import pypdfium2
from PIL import Image
from skimage.metrics import structural_similarity


def quarter(image):
    grey = image.convert("L")
    return np.asarray(grey.resize((max(8, grey.width // 4), max(8, grey.height // 4)), Image.BOX))


def ssim(ours, theirs):
    theirs = theirs.resize(ours.size, Image.BICUBIC) if theirs.size != ours.size else theirs
    return structural_similarity(quarter(ours), quarter(theirs), data_range=255)


def poppler(path, edge, folder):
    subprocess.run(["pdftoppm", "-cropbox", "-r", "72", "-scale-to", str(edge), "-png", str(path), f"{folder}/p"], check=True)
    return [Image.open(page).convert("RGB") for page in sorted(pathlib.Path(folder).glob("p*.png"))]


def pdfium(path, edge):
    document = pypdfium2.PdfDocument(str(path))
    return [page.render(scale=edge / max(page.get_size())).to_pil().convert("RGB") for page in document]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("decks", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = (args.raw / "manifest.jsonl").read_text().splitlines()
    slides = {(s["source"]["sha256"], s["source"]["page"]): s["slide_id"] for s in map(json.loads, lines)}
    scores = {"pdftoppm": [], "pdfium": []}
    for deck in args.decks:
        sha256 = hashlib.sha256(deck.read_bytes()).hexdigest()
        first = Image.open(args.raw / "slides" / f"{slides[sha256, 1]}.png")
        with tempfile.TemporaryDirectory() as folder:
            others = {"pdftoppm": poppler(deck, max(first.size), folder), "pdfium": pdfium(deck, max(first.size))}
            for name, pages in others.items():
                for number, page in enumerate(pages, 1):
                    ours = Image.open(args.raw / "slides" / f"{slides[sha256, number]}.png").convert("RGB")
                    scores[name].append((ssim(ours, page), deck.stem[:24], number, ours, page))
    for name, rows in scores.items():
        values = np.array([row[0] for row in rows])
        print(
            f"{name}: {len(rows)} pages, at least 0.95 on {100 * np.mean(values >= 0.95):.1f} %, "
            f"at least 0.90 on {100 * np.mean(values >= 0.90):.1f} %, lowest {values.min():.3f}, median {np.median(values):.4f}"
        )
        lowest = sorted(rows, key=lambda row: row[0])[:10]
        sheet = Image.new("RGB", (2 * 480 + 10, 10 * 280), "white")
        for row, (value, stem, number, ours, page) in enumerate(lowest):
            print(f"  {value:.3f} {stem} page {number}")
            for column, image in enumerate((ours, page)):
                image = image.copy()
                image.thumbnail((480, 270))
                sheet.paste(image, (column * 490, row * 280))
        sheet.save(args.out / f"lowest-{name}.png")


if __name__ == "__main__":
    main()
