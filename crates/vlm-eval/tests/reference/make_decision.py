"""Writes decision.json: drawn ratings with forecasts, and what numpy, scipy and scikit-learn make of them.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
    VENV/bin/python make_decision.py > decision.json
"""
import json
import sys

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import LeaveOneGroupOut

KEYS = ["clarity", "content_quality", "data_visualization"]
ROUNDING = np.array([1.5, 2.5, 3.5, 4.5])
STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0]
LEVELS = np.arange(1, 6)
PRIOR = 50


def draw(rng, shrink, sharp):
    """Nine decks: a model whose means lie nearer to the middle than people's, and whose logits are `sharp` times too large."""
    slides = []
    for deck in range(9):
        shift = rng.normal() * 0.4
        for page in range(rng.integers(5, 9)):
            distributions, counts = {}, {}
            for at, key in enumerate(KEYS):
                if key == KEYS[2] and rng.uniform() < 0.6:
                    continue
                quality = 3 + 1.3 * rng.normal() + shift
                centre = 3 + shrink * (quality - 3) + 0.35 * rng.normal()
                p = softmax(-0.5 * ((LEVELS - centre) / 0.8) ** 2 * sharp)
                ratings = np.clip(np.rint(quality + 0.6 * rng.normal(size=3)), 1, 5)
                distributions[key] = p.tolist()
                counts[key] = [int(np.sum(ratings == level)) for level in LEVELS]
            slides.append({"slide_id": f"d{deck}-p{page}", "group": f"d{deck}", "p": distributions, "counts": counts})
    return slides


def table(slides):
    """Columns: criterion, group, mean, score (median of three), distribution, raters' shares."""
    rows = []
    for slide in slides:
        for at, key in enumerate(KEYS):
            if key in slide["p"]:
                counts = np.array(slide["counts"][key])
                score = int(np.median(np.repeat(LEVELS, counts)))
                p = np.array(slide["p"][key])
                rows.append((at, slide["group"], p @ LEVELS, score, p, counts / counts.sum()))
    columns = [np.array(column) for column in zip(*rows)]
    return dict(zip(["criterion", "group", "mean", "score", "p", "raters"], columns))


def part(rows, chosen):
    return {name: column[chosen] for name, column in rows.items()}


def weight(own):
    return own / (own + PRIOR)


def matched(rows):
    below = np.array([np.mean(rows["score"] <= level) for level in LEVELS[:4]])
    return np.quantile(rows["mean"], below, method="hazen")


def cuts(rows):
    common = matched(rows)
    found = []
    for at in range(len(KEYS)):
        own = part(rows, rows["criterion"] == at)
        w = weight(len(own["score"]))
        found.append(w * matched(own) + (1 - w) * common if len(own["score"]) else common)
    return np.array(found)


def scored(rows, points, strength):
    moved = (1 - strength) * ROUNDING + strength * points[rows["criterion"]]
    return 1 + np.sum(rows["mean"][:, None] >= moved, axis=1)


def held_out(rows, learn, tell):
    told = None
    for rest, held in LeaveOneGroupOut().split(rows["mean"], groups=rows["group"]):
        found = np.array(tell(learn(part(rows, rest)), part(rows, held)))
        told = np.zeros((len(rows["mean"]),) + found.shape[1:]) if told is None else told
        told[held] = found
    return told


def kappa(rows, scores):
    return cohen_kappa_score(rows["score"], scores, weights="quadratic", labels=LEVELS)


def error(rows, scores):
    return np.mean(np.abs(rows["score"] - scores))


def best_strength(rows):
    tell = lambda points, held: np.stack([scored(held, points, s) for s in STRENGTHS], axis=1)
    told = held_out(rows, cuts, tell)
    best = 0
    for at in range(1, len(STRENGTHS)):
        no_worse = error(rows, told[:, at]) <= error(rows, told[:, 0]) + 1e-12
        if no_worse and kappa(rows, told[:, at]) > kappa(rows, told[:, best]):
            best = at
    return STRENGTHS[best]


def loss_of(rows, temperature):
    logs = log_softmax(np.log(np.maximum(rows["p"], 1e-12)) / np.reshape(temperature, (-1, 1)), axis=1)
    return -np.sum(rows["raters"] * logs, axis=1)


def most_likely(rows):
    found = minimize_scalar(
        lambda t: np.sum(loss_of(rows, np.exp(t))), bounds=np.log([0.25, 4]), method="bounded", options={"xatol": 1e-12}
    )
    return found.x


def temperatures(rows):
    common = most_likely(rows)
    found = []
    for at in range(len(KEYS)):
        own = part(rows, rows["criterion"] == at)
        w = weight(len(own["score"]))
        found.append(np.exp(w * most_likely(own) + (1 - w) * common))
    return np.array(found)


def inside(rows, temperature):
    p = softmax(np.log(rows["p"]) / np.reshape(temperature, (-1, 1)), axis=1)
    below = np.cumsum(p, axis=1)
    low, high = np.argmax(below >= 0.1 - 1e-9, axis=1), np.argmax(below >= 0.9 - 1e-9, axis=1)
    within = (np.arange(5) >= low[:, None]) & (np.arange(5) <= high[:, None])
    return np.sum(rows["raters"] * within, axis=1)


def measures(rows, scores):
    people, given = (np.array([np.mean(x == level) for level in LEVELS]) for x in (rows["score"], scores))
    return {
        "mae": error(rows, scores),
        "exact": np.mean(rows["score"] == scores),
        "qwk": kappa(rows, scores),
        "share_gap": np.max(np.abs(people - given)),
    }


def case(slides):
    rows = table(slides)
    both = lambda rest: (cuts(rest), best_strength(rest))
    tell = lambda found, held: np.stack([scored(held, found[0], s) for s in (0.0, found[1], 1.0)], axis=1)
    told = held_out(rows, both, tell)
    rounded, chosen, everything = (measures(rows, told[:, at]) for at in range(3))
    are_better = chosen["qwk"] > rounded["qwk"] and chosen["mae"] <= rounded["mae"] + 1e-12
    strength = best_strength(rows) if are_better else 0.0
    tempered = held_out(
        rows,
        temperatures,
        lambda t, held: np.stack([f(held, t[held["criterion"]]) for f in (loss_of, inside)], axis=1),
    )
    plain = [float(np.mean(f(rows, np.ones(len(rows["mean"]))))) for f in (loss_of, inside)]
    tempered = np.mean(tempered, axis=0).tolist()
    return {
        "slides": slides,
        "strength": strength,
        "cut_points": ((1 - strength) * ROUNDING + strength * cuts(rows)).tolist(),
        "temperatures": (temperatures(rows) if tempered[0] < plain[0] else np.ones(len(KEYS))).tolist(),
        "scores": [rounded, chosen, everything],
        "probabilities": [plain, tempered],
    }


def main():
    cases = [case(draw(np.random.default_rng(seed), *model)) for seed, model in [(3, (0.6, 2.0)), (8, (1.0, 1.0)), (5, (0.8, 0.5))]]
    json.dump(cases, sys.stdout)


main()
