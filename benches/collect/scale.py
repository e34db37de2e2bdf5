"""Collects many small slides and measures the first run, its memory, and an unchanged second run.

    cargo build --release -p pq-collect
    python benches/collect/scale.py --binary target/release/pq-collect --slides 100000 --folder /tmp/scale

Needs numpy and Pillow. The slides are 96 × 54 pixels, twenty a deck in one theme, so that what is measured is the store and
the search for duplicates and not the decoders. Prints one JSON object.
"""

import argparse
import json
import os
import pathlib
import subprocess
import threading
import time

import numpy as np
from PIL import Image


def draw_slide(theme, own):
    """A title, lines of words, and in every third slide bars, in the colours and margins of the deck."""
    paper, ink, accent = theme["colours"]
    page = np.empty((54, 96, 3), np.uint8)
    page[:] = paper
    page[: theme["header"]] = accent
    top = theme["header"] + 4
    for line in range(own.integers(2, 8)):
        at = theme["margin"]
        while at < 88 and own.random() > 0.12:
            width = own.integers(2, 9)
            page[top : top + 3, at : min(at + width, 92)] = ink
            at += width + 2
        top += theme["leading"]
        if top > 48:
            break
    if own.random() < 0.33:
        for bar in range(own.integers(3, 7)):
            height = own.integers(3, 30)
            page[50 - height : 50, 50 + 6 * bar : 54 + 6 * bar] = accent
    return page


def draw(folder, count):
    dice = np.random.default_rng(7)
    for at in range(count):
        deck = folder / f"deck-{at // 20:05}"
        if at % 20 == 0:
            deck.mkdir(parents=True, exist_ok=True)
            colours = dice.integers(200, 256, 3), dice.integers(0, 90, 3), dice.integers(0, 256, 3)
            header, margin, leading = dice.integers(3, 11), dice.integers(4, 14), dice.integers(5, 9)
            theme = {"colours": colours, "header": header, "margin": margin, "leading": leading}
        Image.fromarray(draw_slide(theme, dice)).save(deck / f"{at % 20:02}.png", compress_level=1)


def resident_mib(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return 0.0


def tree(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [pid, *map(int, out.split())]


def run(command, cwd, samples=None):
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if samples is not None:

        def watch():
            while process.poll() is None:
                parts = [resident_mib(pid) for pid in tree(process.pid)]
                samples.append((time.monotonic() - start, parts[0], max(parts[1:], default=0.0)))
                time.sleep(0.5)

        threading.Thread(target=watch, daemon=True).start()
    out = process.communicate()[0]
    seconds = time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return seconds, json.loads(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--slides", type=int, default=100_000)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if not (args.folder / "in").exists():
        draw(args.folder / "in", args.slides)
    (args.folder / "config").mkdir(exist_ok=True)
    (args.folder / "config/data.toml").write_text("")
    command = [str(args.binary.resolve()), "in", "--json"]
    samples = []
    first, report = run(command, args.folder, samples)
    again = [run(command, args.folder)[0] for _ in range(5)]
    third = len(samples) // 3
    print(
        json.dumps(
            {
                "slides": report["slides"],
                "duplicates": report["duplicates"],
                "first_run_s": round(first, 1),
                "unchanged_runs_s": [round(seconds, 2) for seconds in again],
                "main_process_mib": {f"{t:.0f} s": round(m) for t, m, _ in samples[:: max(1, len(samples) // 8)]},
                "largest_reader_mib": {
                    "first third": round(max((r for _, _, r in samples[:third]), default=0)),
                    "last third": round(max((r for _, _, r in samples[-third:]), default=0)),
                },
                "cores": os.cpu_count(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
