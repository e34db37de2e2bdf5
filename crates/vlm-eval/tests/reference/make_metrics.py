"""Writes metrics.json: ratings, distributions and what scikit-learn, scipy and numpy make of them.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
    VENV/bin/python make_metrics.py > metrics.json
"""
import json
import sys

import numpy as np
import scipy
import sklearn
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

CRITERIA = ["clarity", "design", "data_visualization", "readability", "content_quality"]
LEVELS = np.arange(1, 6)


def ece(confidence, correct, bins=10):
    """Guo et al. (2017): equal-width bins (lower, upper]."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
    return total


def measures(rows):
    actual = np.array([row["actual"] for row in rows])
    p = np.array([row["p"] for row in rows])
    expected = p @ LEVELS
    score = np.floor(expected + 0.5).astype(int)
    off = np.abs(actual - score)
    kappa = cohen_kappa_score(actual, score, labels=LEVELS, weights="quadratic")
    return {
        "mae": mean_absolute_error(actual, score),
        "within_1": float((off <= 1).mean()),
        "exact": accuracy_score(actual, score),
        "qwk": float(kappa),
        "spearman": float(spearmanr(expected, actual).statistic),
        "ece": float(ece(p.max(axis=1), (p.argmax(axis=1) + 1 == actual).astype(float))),
    }


def clustered_interval(rows, rng, samples=20000):
    """95 % percentile interval of the MAE, whole groups drawn with replacement."""
    groups = sorted({row["group"] for row in rows})
    sums = {g: [0.0, 0] for g in groups}
    for row in rows:
        score = int(np.floor(np.dot(row["p"], LEVELS) + 0.5))
        sums[row["group"]][0] += abs(row["actual"] - score)
        sums[row["group"]][1] += 1
    table = np.array([sums[g] for g in groups])
    draws = table[rng.integers(0, len(groups), (samples, len(groups)))].sum(axis=1)
    return [float(v) for v in np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])]


def ceiling(slides):
    """Each rater against the rounded mean of the others, each slide and criterion with weight 1."""
    off, weight = [], []
    for slide in slides:
        for counts in slide["distribution"].values():
            ratings = np.repeat(LEVELS, counts)
            for i, rating in enumerate(ratings if len(ratings) > 1 else []):
                others = np.floor(np.delete(ratings, i).mean() + 0.5)
                off.append(abs(rating - others))
                weight.append(1 / len(ratings))
    off, weight = np.array(off), np.array(weight)
    return {"mae": float(np.average(off, weights=weight)), "within_1": float(np.average(off <= 1, weights=weight))}


def case(name, seed, groups, per_group, noise, sharpness):
    rng = np.random.default_rng(seed)
    slides, rows = [], []
    for g in range(groups):
        shift = rng.normal(0, 0.5)
        for s in range(per_group):
            slide = {"slide_id": f"g{g:02}-s{s:02}", "group": f"g{g:02}", "labels": {}, "p": {}, "distribution": {}}
            for key in CRITERIA:
                latent = np.clip(rng.normal(3.2 + shift, 1.1), 1, 5)
                ratings = np.clip(np.round(latent + rng.normal(0, 0.6, 3)), 1, 5).astype(int)
                actual = int(np.median(ratings))
                null = key == "data_visualization" and rng.random() < 0.4
                logits = -sharpness * (LEVELS - latent + rng.normal(0, noise)) ** 2
                p = np.exp(logits - logits.max())
                p = [float(v) for v in p / p.sum()]
                slide["labels"][key] = None if null else actual
                slide["p"][key] = p
                if not null:
                    slide["distribution"][key] = [int((ratings == level).sum()) for level in LEVELS]
                    rows.append({"key": key, "group": slide["group"], "actual": actual, "p": p})
            slides.append(slide)
    expected = {f"overall_{k}": v for k, v in measures(rows).items()}
    for key in CRITERIA:
        own = [row for row in rows if row["key"] == key]
        expected |= {f"{key}_{k}": v for k, v in measures(own).items()}
    constants = {key: int(np.sort([r["actual"] for r in rows if r["key"] == key])[(sum(r["key"] == key for r in rows) - 1) // 2]) for key in CRITERIA}
    return {
        "name": name,
        "slides": slides,
        "metrics": expected,
        "overall_mae_interval": clustered_interval(rows, rng),
        "human_ceiling": ceiling(slides),
        "constants": constants,
        "constant_mae": float(np.mean([abs(r["actual"] - constants[r["key"]]) for r in rows])),
    }


json.dump(
    {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
        "cases": [case("sharp", 1, 14, 5, 0.5, 1.2), case("vague", 2, 12, 4, 1.6, 0.35)],
    },
    sys.stdout,
)
