#!/usr/bin/env python3
"""Shows the same made-up comparisons to Evidently and alibi-detect, and writes how often each says that something changed.

    python3 -m venv .venv-monitoring && .venv-monitoring/bin/pip install evidently 'alibi-detect[torch]'
    make bench-peer-monitoring MONITORING_PYTHON=.venv-monitoring/bin/python [COMPARISONS=100]

`cargo bench -p pitchquest-drift --bench peers` draws the comparisons from seeds and notes what this project's monitor says of each. Both
peers run with the defaults of their documentation for tables and vectors of this size. They know rows, not decks; so each is run twice,
with every slide a row, and with every deck one row (the mean of its slides), which is what a user who knows about decks can do without
changing them. The table goes between the markers in docs/benchmarks.md; lines of each comparison go to `--log`.
"""
import argparse
import collections
import datetime
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKERS = ("<!-- monitoring peers: begin -->", "<!-- monitoring peers: end -->")
ALPHA = 0.05
ROWS = ["slides", "decks"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path, help="what the bench `peers` wrote")
    parser.add_argument("--most", type=int, default=1000, help="at most so many comparisons of each condition")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so many; conditions are taken in turn")
    parser.add_argument("--log", type=pathlib.Path, help="a line of JSON for each comparison")
    parser.add_argument("--docs", type=pathlib.Path, default=ROOT / "docs/benchmarks.md")
    parser.add_argument("--print", action="store_true", help="print the table and change no file")
    return parser.parse_args()


def frame(side):
    """The columns of a side, a row a slide; what a slide lacks is NaN."""
    return pd.DataFrame(side["columns"], dtype=float)


def by_deck(table, decks):
    return table.groupby(np.array(decks), sort=True).mean()


def evidently(reference, recent):
    """DataDriftPreset: by column the K-S test at 0.05 up to 1,000 rows of reference, above the Wasserstein distance at 0.1; the dataset has
    drifted where half of the columns have."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    # Columns that one side lacks altogether cannot be compared.
    columns = [name for name in reference if reference[name].notna().any() and recent[name].notna().any()]
    definition = DataDefinition(numerical_columns=columns)
    sides = [Dataset.from_pandas(side[columns].reset_index(drop=True), data_definition=definition) for side in (recent, reference)]
    found = Report([DataDriftPreset()]).run(*sides).dict()
    for metric in found["metrics"]:
        if metric["metric_name"].startswith("DriftedColumnsCount"):
            return metric["value"]["count"] > 0, metric["value"]["share"] >= 0.5
    raise SystemExit("the report has no DriftedColumnsCount: another version of evidently?")


def alibi_table(reference, recent, properties, criteria):
    """TabularDrift (K-S by feature, Bonferroni). It takes no gaps, so properties of all slides and scores of those that have one are two
    detectors, which share alpha; a criterion that not every slide has is left out."""
    from alibi_detect.cd import TabularDrift

    scores = [name for name in criteria if name != "data_visualization"]
    alarm = False
    for columns in (list(properties), scores):
        sides = [side[columns].dropna().to_numpy(np.float32) for side in (reference, recent)]
        found = TabularDrift(sides[0], p_val=ALPHA / 2).predict(sides[1], drift_type="batch")
        alarm |= bool(found["data"]["is_drift"])
    return alarm


def alibi_vectors(reference, recent):
    """MMDDrift and ClassifierDrift (logistic regression, five folds) of the vision vectors."""
    from alibi_detect.cd import ClassifierDrift, MMDDrift
    from sklearn.linear_model import LogisticRegression

    mmd = MMDDrift(reference, backend="pytorch", p_val=ALPHA, n_permutations=100, device="cpu").predict(recent)
    model = LogisticRegression(max_iter=1000)
    classifier = ClassifierDrift(reference, model, backend="sklearn", p_val=ALPHA, n_folds=5, train_size=None)
    told = classifier.predict(recent, return_probs=False, return_model=False)
    return bool(mmd["data"]["is_drift"]), bool(told["data"]["is_drift"])


def vectors(side, is_by_deck):
    table = pd.DataFrame(side["vision"], dtype=float)
    table = by_deck(table, side["decks"]) if is_by_deck else table
    return table.to_numpy(np.float32)


def judge(line):
    """What each says of one comparison, by the name of a column of the table."""
    said = {"ours flags": line["flagged"], "ours drift": line["drifted"]}
    sides = [line["reference"], line["recent"]]
    for rows in ROWS:
        tables = [frame(side) for side in sides]
        if rows == "decks":
            tables = [by_deck(table, side["decks"]) for table, side in zip(tables, sides)]
        said[f"evidently {rows}"], said[f"evidently dataset {rows}"] = evidently(*tables)
        said[f"alibi table {rows}"] = alibi_table(*tables, line["properties"], line["criteria"])
        seen = [vectors(side, rows == "decks") for side in sides]
        said[f"alibi mmd {rows}"], said[f"alibi classifier {rows}"] = alibi_vectors(*seen)
    return said


def table(counts):
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ["evidently", "alibi-detect", "torch", "scikit-learn"])
    of = next(iter(counts.values()))["comparisons"]
    yield f"{datetime.date.today()}; {versions}; Python {platform.python_version()}. Alarms of {of} comparisons each; two figures are with every slide a row / every deck a row."
    yield ""
    yield "| data, 36 training decks | ours, any feature | ours, drift | Evidently, any column | Evidently, dataset | alibi-detect, TabularDrift | MMDDrift | ClassifierDrift |"
    yield "|---|---|---|---|---|---|---|---|"
    for condition, count in counts.items():
        pair = lambda name: f"{count[f'{name} slides']} / {count[f'{name} decks']}"  # noqa: E731
        cells = [str(count["ours flags"]), str(count["ours drift"])]
        cells += [pair(name) for name in ["evidently", "evidently dataset", "alibi table", "alibi mmd", "alibi classifier"]]
        yield f"| {condition} | {' | '.join(cells)} |"


def main():
    args = arguments()
    begun, counts = time.monotonic(), {}
    log = args.log.open("w") if args.log else None
    files = [path.open() for path in sorted(args.folder.glob("*.jsonl"))]
    for number, lines in zip(range(args.most), zip(*files)):
        if time.monotonic() - begun > args.seconds:
            break
        for line in map(json.loads, lines):
            np.random.seed(number)
            said = judge(line)
            count = counts.setdefault(line["condition"], collections.Counter())
            count["comparisons"] += 1
            count.update({name: int(value) for name, value in said.items()})
            if log:
                print(json.dumps({"condition": line["condition"], "number": number, **said}), file=log, flush=True)
    text = "\n".join(table(counts))
    if args.print:
        print(text)
        return
    docs = args.docs.read_text()
    begin, end = (docs.index(marker) for marker in MARKERS)
    args.docs.write_text(docs[: begin + len(MARKERS[0])] + "\n" + text + "\n" + docs[end:])


if __name__ == "__main__":
    main()
