"""Counts how often each quality flag is raised on made cases of its fault, and on whole pages.

    cargo build --release -p pq-collect
    pip install numpy pillow pypdfium2
    python benches/collect/quality.py --binary target/release/pq-collect --photos PHOTOS --folder /tmp/quality DECK.pdf ...

Pages are drawn by PDFium, which also tells where each character stands, so that a cut is known to go through text: at least two
characters, each at least a fifth of its size from their edges. Faults are made of every page; a page counts once a fault (four
times where the fault is a cut: once a side, where that side has text to cut through).
"""

import argparse
import io
import json
import pathlib
import random
import shutil
import subprocess

import numpy as np
import pypdfium2
from PIL import Image, ImageFilter

SIDES = ("left", "right", "top", "bottom")


def characters(page, scale, height):
    text = page.get_textpage()
    boxes = [text.get_charbox(at) for at in range(text.count_chars())]
    boxes = [(l * scale, height - t * scale, r * scale, height - b * scale) for l, b, r, t in boxes if r > l and t > b]
    return np.array(boxes).reshape(-1, 4)


def paper(image):
    colours, counts = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_counts=True)
    return tuple(int(channel) for channel in colours[counts.argmax()])


def saved_as_jpeg(image):
    bytes_ = io.BytesIO()
    image.save(bytes_, "JPEG", quality=75)
    return Image.open(bytes_).convert("RGB")


def cut(image, boxes, side, dice):
    """The image without 5 to 40 % at a side, cut through at least two characters; none where there are none to cut."""
    across = side in ("left", "right")
    length = image.width if across else image.height
    low, high = (boxes[:, 0], boxes[:, 2]) if across else (boxes[:, 1], boxes[:, 3])
    margin = 0.2 * (high - low)
    found = []
    for _ in range(60):
        share = dice.uniform(0.05, 0.4)
        at = int(length * (share if side in ("left", "top") else 1 - share))
        if np.sum((low + margin < at) & (at < high - margin)) >= 2:
            found.append(at)
    if not found:
        return None
    at = dice.choice(found)
    corners = {"left": (at, 0, image.width, image.height), "right": (0, 0, at, image.height)}
    corners |= {"top": (0, at, image.width, image.height), "bottom": (0, 0, image.width, at)}
    return image.crop(corners[side])


def faults(image, boxes, dice):
    """Pairs of a flag and an image that has its fault."""
    width, height = image.size
    empty = Image.new("RGB", image.size, paper(image))
    yield "blank", empty
    yield "blank", saved_as_jpeg(empty)
    if len(boxes):
        left, top, right, bottom = (int(value) for value in boxes[dice.randrange(len(boxes))])
        corner = (max(0, left - 8), max(0, top - 2), min(width, right + 40), bottom + 2)
        word = empty.copy()
        word.paste(image.crop(corner), corner[:2])
        yield "nearly_blank", word
    yield "too_small", image.resize((300, max(1, 300 * height // width)), Image.BICUBIC)
    strip = width * 10 // 33
    top = dice.randrange(height - strip)
    yield "extreme_shape", image.crop((0, top, width, top + strip))
    yield "blurred", image.filter(ImageFilter.GaussianBlur(3))
    yield "blurred", image.resize((width // 5, height // 5), Image.BOX).resize(image.size, Image.BICUBIC)
    for side in SIDES:
        piece = cut(image, boxes, side, dice)
        if piece is not None:
            yield f"cut_off {side}", piece


def make(decks, photos, pages, folder):
    dice = random.Random(5)
    count = 0
    for deck in decks:
        for number, page in enumerate(pypdfium2.PdfDocument(str(deck))):
            if number == pages:
                break
            scale = 1280 / max(page.get_size())
            image = page.render(scale=scale).to_pil().convert("RGB")
            boxes = characters(page, scale, image.height)
            cases = [("whole", image), *faults(image, boxes, dice)]
            for at, (fault, case) in enumerate(cases):
                place = folder / fault / f"{count:04}-{at:02}"
                place.mkdir(parents=True)
                case.save(place / "page.png", compress_level=1)
            count += 1
    for photo in sorted(photos.iterdir()) if photos else []:
        place = folder / "photograph" / photo.stem
        place.mkdir(parents=True)
        shutil.copy(photo, place)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=pathlib.Path)
    parser.add_argument("--pages", type=int, default=1000, help="pages a deck")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("decks", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    make(args.decks, args.photos, args.pages, args.folder / "in")
    (args.folder / "config").mkdir()
    (args.folder / "config/data.toml").write_text("")
    subprocess.run([args.binary.resolve(), "in", "--json"], cwd=args.folder, stdout=subprocess.DEVNULL, check=True)
    rows = {}
    for line in (args.folder / "data/raw/manifest.jsonl").read_text().splitlines():
        slide = json.loads(line)
        rows.setdefault(slide["source"]["origin"].split("/")[1], []).append(slide)
    for fault, slides in sorted(rows.items()):
        flag = fault.split()[0]
        found = [slide for slide in slides if flag in slide["quality"]]
        if fault == "whole":
            print(f"whole pages: {len(slides)}")
            for name in ("blank", "nearly_blank", "too_small", "extreme_shape", "blurred", "cut_off", "photograph"):
                raised = [(round(s["quality"][name], 3), s["source"]["origin"]) for s in slides if name in s["quality"]]
                print(f"  {name}: {len(raised)} {raised[:12]}")
        else:
            print(f"{fault}: {len(found)} of {len(slides)}")


if __name__ == "__main__":
    main()
