"""Writes cheap.json: drawn slides with ratings, and what scikit-learn makes of them.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn==1.9.1 numpy==2.4.6
    VENV/bin/python make_cheap.py > cheap.json
"""
import json
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

PENALTIES = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0]
COUNTS = [1, 3, 5, 9, 15, 25]
LEVELS = np.arange(1, 6)


def draw(rng):
    """Twelve decks of four to seven slides: 16 features of which three matter, 4 properties of which one does."""
    slides = []
    weights = rng.normal(size=(3, 2))
    for deck in range(12):
        shift = rng.normal(size=16) * 0.5
        for page in range(rng.integers(4, 8)):
            mean = rng.normal(size=16) + shift
            spread = rng.normal(size=8)
            properties = rng.uniform(size=4)
            quality = mean[:3] @ weights + properties[:1] * 1.5
            people = quality[:, None] + rng.normal(size=(2, 3)) * 0.6 + 3.0
            counts = np.array([[np.sum(np.clip(np.rint(row), 1, 5) == level) for level in LEVELS] for row in people])
            if rng.uniform() < 0.3:
                counts[1] = 0  # nobody rated the second criterion
            slides.append(
                {
                    "slide_id": f"d{deck:02}-p{page}",
                    "group": f"d{deck:02}",
                    "mean": [float(np.float32(v)) for v in mean],
                    "spread": [float(np.float32(v)) for v in spread],
                    "properties": [float(np.float32(v)) for v in properties],
                    "counts": counts.tolist(),
                }
            )
    return slides


def normalized(rows):
    kept = np.maximum(rows, 0)
    return kept / kept.sum(axis=1, keepdims=True)


def ridge(known, asked, target, groups):
    """Multi-output ridge with an intercept; the penalty by five folds of whole groups, in their order."""
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    fold = np.array([order[group] % min(5, len(order)) for group in groups])

    def fit(rows, targets, penalty):
        centred = rows - rows.mean(axis=0)
        return Ridge(alpha=penalty * np.mean((centred**2).sum(axis=1)), solver="cholesky").fit(rows, targets)

    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for held in range(fold.max() + 1):
            said = fit(known[fold != held], target[fold != held], penalty).predict(known[fold == held])
            error += np.sum((normalized(said) @ LEVELS - target[fold == held] @ LEVELS) ** 2)
        errors.append(error)
    return normalized(fit(known, target, PENALTIES[int(np.argmin(errors))]).predict(asked))


def nearest(known, asked, target, groups):
    def search(rows, wanted):
        found = NearestNeighbors(n_neighbors=len(rows), metric="cosine").fit(rows)
        return found.kneighbors(wanted)[1]

    groups = np.array(groups)
    errors = np.zeros(len(COUNTS))
    for at in range(len(known)):
        others = np.flatnonzero(groups != groups[at])
        order = others[search(known[others], known[at : at + 1])[0]]
        for place, count in enumerate(COUNTS):
            errors[place] += (target[order[:count]].mean(axis=0) @ LEVELS - target[at] @ LEVELS) ** 2
    count = COUNTS[int(np.argmin(errors))]
    return target[search(known, asked)[:, :count]].mean(axis=1)


def applicability(known, targets, groups, asked):
    """Logistic regression of the share of people who say that a criterion applies: a row for yes and one for no, weighted."""
    scaler = StandardScaler().fit(known)
    known, asked = scaler.transform(known), scaler.transform(asked)
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    fold = np.array([order[group] % 5 for group in groups])

    def fit(rows, shares, penalty):
        length = np.mean((rows**2).sum(axis=1))
        model = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=100_000)
        model.fit(
            np.vstack([rows, rows]) / np.sqrt(length),
            np.r_[np.ones(len(rows)), np.zeros(len(rows))],
            sample_weight=np.r_[shares, 1 - shares],
        )
        return lambda wanted: model.predict_proba(wanted / np.sqrt(length))[:, 1]

    best = None
    for penalty in [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]:
        said = np.zeros(len(known))
        for held in range(5):
            said[fold == held] = fit(known[fold != held], targets[fold != held], penalty)(known[fold == held])
        loss = -np.sum(targets * np.log(said) + (1 - targets) * np.log(1 - said))
        if best is None or loss < best[0]:
            best = (loss, penalty, roc_auc_score(targets >= 0.5, said))
    return {"auc": best[2], "probabilities": fit(known, targets, best[1])(asked).tolist()}


def main():
    rng = np.random.default_rng(7)
    slides = draw(rng)
    known, asked = slides[:-9], slides[-9:]
    of = lambda rows, *names: np.array([sum((row[name] for name in names), []) for row in rows])
    centre = of(known, "mean").mean(axis=0)
    expand = PolynomialFeatures(2, include_bias=False)
    tables = {
        "linear probe on frozen image features": (ridge, of(known, "mean", "spread"), of(asked, "mean", "spread"), True),
        "most similar rated slides": (nearest, of(known, "mean") - centre, of(asked, "mean") - centre, False),
        "brightness, ink and other image properties": (
            ridge,
            expand.fit_transform(of(known, "properties")),
            expand.transform(of(asked, "properties")),
            True,
        ),
    }
    forecasts = {}
    for name, (model, rows, wanted, scaled) in tables.items():
        if scaled:
            scaler = StandardScaler().fit(rows)
            rows, wanted = scaler.transform(rows), scaler.transform(wanted)
        forecasts[name] = []
        for criterion in range(2):
            counts = np.array([row["counts"][criterion] for row in known], dtype=float)
            rated = counts.sum(axis=1) > 0
            target = counts[rated] / counts[rated].sum(axis=1, keepdims=True)
            groups = [row["group"] for row, is_rated in zip(known, rated) if is_rated]
            forecasts[name].append(model(rows[rated], wanted, target, groups).tolist())
    # Of five people so many say that the third criterion does not apply.
    odds = of(known, "mean")[:, 4] * 2 + of(known, "spread")[:, 0]
    nays = rng.binomial(5, 1 / (1 + np.exp(odds)))
    groups = [row["group"] for row in known]
    rows, wanted = of(known, "mean", "spread", "properties"), of(asked, "mean", "spread", "properties")
    applies = applicability(rows, 1 - nays / 5, groups, wanted)
    json.dump({"known": known, "asked": asked, "forecasts": forecasts, "nays": nays.tolist(), "applies": applies}, sys.stdout)


main()
