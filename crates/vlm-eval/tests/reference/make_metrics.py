"""Writes metrics.json: ratings, distributions and what scikit-learn, scipy, krippendorff and numpy make of them.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6 krippendorff==0.9.0
    VENV/bin/python make_metrics.py > metrics.json
"""
import json
import sys

import krippendorff
import numpy as np
import scipy
import sklearn
from scipy.stats import kendalltau, spearmanr, t
from sklearn.metrics import accuracy_score, brier_score_loss, cohen_kappa_score, mean_absolute_error

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
        "bias": float(np.mean(score - actual)),
        "alpha": float(krippendorff.alpha([actual, score], level_of_measurement="ordinal", value_domain=list(LEVELS))),
        "rps": rps(p, np.array([row["raters"] for row in rows])),
        "spearman": float(spearmanr(expected, actual).statistic),
        "kendall": float(kendalltau(expected, actual, variant="b").statistic),
        "ece": float(ece(p.max(axis=1), (p.argmax(axis=1) + 1 == actual).astype(float))),
    }


def rps(p, raters):
    """Epstein (1969): the Brier scores of "at most 1", … "at most 4", summed; each rater is an observation of weight 1 / raters."""
    below = np.clip(np.cumsum(p, axis=1), 0, 1)
    total = 0.0
    for level in range(4):
        forecasts, observed, weights = [], [], []
        for row, counts in zip(below, raters):
            for score, count in enumerate(counts):
                forecasts.append(row[level])
                observed.append(int(score <= level))
                weights.append(count / counts.sum())
        total += brier_score_loss(observed, forecasts, sample_weight=weights, pos_label=1, scale_by_half=True)
    return float(total)


def jackknife_interval(rows):
    """95 % interval of the log MAE from leaving out one group at a time, with Student's quantile."""
    groups = sorted({row["group"] for row in rows})

    def mae(rows):
        return np.mean([abs(r["actual"] - int(np.floor(np.dot(r["p"], LEVELS) + 0.5))) for r in rows])

    logs = np.log([mae([row for row in rows if row["group"] != g]) for g in groups])
    n = len(groups)
    half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((logs - logs.mean()) ** 2).sum())
    return [float(np.exp(np.log(mae(rows)) + sign * half)) for sign in (-1, 1)]


def median(scores):
    """Between two scores the one nearer the mean, at a tie the even one."""
    middle = float(np.median(scores))
    if middle == int(middle):
        return int(middle)
    mean = float(np.mean(scores))
    if mean == middle:
        return int(np.round(middle))
    return int(np.floor(middle)) if mean < middle else int(np.ceil(middle))


def ceiling(slides):
    """Each rater against the median of the others, each slide and criterion with weight 1; and the model against the same."""
    person, model, weight = [], [], []
    for slide in slides:
        for key, counts in slide["distribution"].items():
            ratings = np.repeat(LEVELS, counts)
            score = int(np.floor(np.dot(slide["p"][key], LEVELS) + 0.5))
            for i, rating in enumerate(ratings if len(ratings) > 1 else []):
                others = median(np.delete(ratings, i))
                person.append(abs(rating - others))
                model.append(abs(score - others))
                weight.append(1 / len(ratings))
    of = lambda off: {
        "mae": float(np.average(off, weights=weight)),
        "within_1": float(np.average(np.array(off) <= 1, weights=weight)),
        "exact": float(np.average(np.array(off) == 0, weights=weight)),
    }
    return {"person": of(person), "model": of(model)}


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
                    rows.append({"key": key, "group": slide["group"], "actual": actual, "p": p, "raters": np.bincount(ratings, minlength=6)[1:]})
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
        "overall_mae_interval": jackknife_interval(rows),
        "human_ceiling": ceiling(slides),
        "constants": constants,
        "constant_mae": float(np.mean([abs(r["actual"] - constants[r["key"]]) for r in rows])),
    }


json.dump(
    {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__, "krippendorff": "0.9.0"},
        "cases": [case("sharp", 1, 14, 5, 0.5, 1.2), case("vague", 2, 12, 4, 1.6, 0.35)],
    },
    sys.stdout,
)
