"""Whether a deck is one deck, whatever file it comes in: PDF, PPTX drawn with and without its fonts, ODP.

    cargo build --release -p pq-collect
    pip install python-pptx
    python benches/collect/renderings.py --binary target/release/pq-collect --folder /tmp/renderings --draw 10 DECK.pptx ...

Needs LibreOffice, which makes a PDF and an ODP of each deck. Both stores hold the three files of each deck; in the second one
LibreOffice finds no fonts but those below --few-fonts, so that lines of PPTX and ODP break elsewhere. A pair is two files of one
deck; it counts where they have one group. Pairs of different decks with one group are counted too. Then the store is divided with
`--seeds` seeds, and pairs of one deck in two splits are counted. Prints one JSON object.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess

WORDS = (
    "market growth customers revenue churn pipeline platform founders traction hospital energy freight logistics audit"
    " sensor forecast margin pricing retention onboarding regulators insurance battery clinics farmers warehouse drivers"
    " contracts subscription payments fraud identity schools tutors recruiters climate carbon steel concrete turbines"
).split()
TITLES = "Problem;Solution;Market;Product;Traction;Business model;Competition;Team;Roadmap;Financials;The ask".split(";")
# Slides that lack fonts are divided too, and a busy machine sets nothing aside.
KEEP_ALL = ("--set", "quality.exclude=[]", "--set", "limits.time_limit_s=600")
FONTS = ("Calibri", "Arial", "Lato", "Roboto", "Cambria", "Times New Roman")


def draw(path, seed):
    """A deck with titles, lists, a table, a chart, and words of its own."""
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.dml.color import RGBColor
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches, Pt

    dice = random.Random(seed)
    font, words = FONTS[seed % len(FONTS)], dice.sample(WORDS, 24)
    phrase = lambda count: " ".join(dice.choice(words) for _ in range(count)).capitalize()
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)

    def text(slide, words, left, top, width, height, size, colour):
        frame = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(width), Inches(height)).text_frame
        frame.word_wrap = True
        for at, line in enumerate(words):
            paragraph = frame.paragraphs[0] if at == 0 else frame.add_paragraph()
            run = paragraph.add_run()
            run.text, run.font.name, run.font.size = line, font, Pt(size)
            run.font.color.rgb = RGBColor(*colour)

    ink = tuple(dice.randrange(0, 120) for _ in range(3))
    for at, title in enumerate(dice.sample(TITLES, dice.randrange(7, 12))):
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        text(slide, [f"{title}: {phrase(3).lower()}"], 0.7, 0.5, 12, 1.2, 34, ink)
        text(slide, [phrase(dice.randrange(5, 14)) for _ in range(dice.randrange(2, 6))], 0.7, 1.9, 6.2, 4.8, 20, (40, 40, 40))
        if at % 3 == 1:
            data = CategoryChartData()
            data.categories = ["2022", "2023", "2024", "2025"]
            data.add_series(phrase(1), [dice.randrange(1, 90) for _ in range(4)])
            slide.shapes.add_chart(
                XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(7.3), Inches(2), Inches(5.3), Inches(4.4), data
            )
        elif at % 3 == 2:
            table = slide.shapes.add_table(4, 3, Inches(7.3), Inches(2), Inches(5.3), Inches(3)).table
            for row, column in itertools.product(range(4), range(3)):
                table.cell(row, column).text = phrase(1) if row * column == 0 else str(dice.randrange(900))
    deck.save(path)


def convert(path, form, folder):
    profile = f"-env:UserInstallation=file://{folder / 'profile'}"
    command = ["soffice", profile, "--headless", "--convert-to", form, "--outdir", str(folder), str(path)]
    subprocess.run(command, check=True, capture_output=True)


def fonts_below(folder, place):
    """A configuration of fontconfig that has one folder."""
    config = place / "fonts.conf"
    config.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{folder}</dir>'
        f"<cachedir>{place / 'font-cache'}</cachedir></fontconfig>"
    )
    return config


def collect(binary, decks, place, environment):
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run([binary, str(decks), *KEEP_ALL], cwd=place, env=environment, check=True, capture_output=True)
    slides = [json.loads(line) for line in (place / "data/raw/manifest.jsonl").read_text().splitlines()]
    groups = {}
    for slide in slides:
        groups.setdefault(pathlib.Path(slide["source"]["origin"]).name, set()).add(slide["group"])
    return slides, groups


def pairs(groups):
    """How many pairs of files of one deck share a group, and how many of different decks."""
    counts = {"of one deck": 0, "in one group": 0, "of different decks": 0, "joined": 0, "apart": [], "joined files": []}
    for one, other in itertools.combinations(sorted(groups), 2):
        is_one, share = pathlib.Path(one).stem == pathlib.Path(other).stem, groups[one] & groups[other]
        counts["of one deck" if is_one else "of different decks"] += 1
        counts["in one group" if is_one else "joined"] += bool(share)
        if is_one and not share:
            counts["apart"].append([one, other])
        if share and not is_one:
            counts["joined files"].append([one, other])
    return counts


def across(binary, place, groups, seeds):
    """Pairs of files of one deck that stand in two splits, over all seeds."""
    found = 0
    for seed in range(seeds):
        command = [binary, "splits", *KEEP_ALL, "--set", f"splits.seed={seed}"]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        splits = place / "data/labeled/splits.json"
        split_of = json.loads(splits.read_text())["groups"]
        held = {name: {split_of[group] for group in held if group in split_of} for name, held in groups.items()}
        for one, other in itertools.combinations(sorted(held), 2):
            found += pathlib.Path(one).stem == pathlib.Path(other).stem and len(held[one] | held[other]) > 1
        splits.unlink()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--draw", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--few-fonts", default="/usr/share/fonts/truetype/dejavu")
    parser.add_argument("decks", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    folder, binary = arguments.folder.resolve(), str(arguments.binary.resolve())
    decks = folder / "decks"
    decks.mkdir(parents=True, exist_ok=True)
    for seed in range(arguments.draw):
        draw(decks / f"drawn-{seed:02}.pptx", seed)
    for deck in arguments.decks:
        shutil.copy(deck, decks / f"{deck.stem}.pptx")
    for deck in sorted(decks.glob("*.pptx")):
        for form in ("pdf", "odp"):
            convert(deck, form, decks)
    shutil.rmtree(decks / "profile", ignore_errors=True)
    few = dict(os.environ, FONTCONFIG_FILE=str(fonts_below(arguments.few_fonts, folder)))
    results = {"decks": len(list(decks.glob("*.pptx")))}
    for name, environment in (("with fonts", dict(os.environ)), ("without fonts", few)):
        place = folder / name.replace(" ", "-")
        slides, groups = collect(binary, decks, place, environment)
        results[name] = {"slides": len(slides), **pairs(groups), "pairs across splits": across(binary, place, groups, arguments.seeds)}
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
