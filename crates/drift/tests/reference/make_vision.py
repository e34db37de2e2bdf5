"""Writes vision.json: decks, and what numpy and scikit-learn make of them.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn==1.9.1 numpy==2.4.6
    VENV/bin/python make_vision.py > vision.json
"""
import json
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(23)


def fitted(x, y):
    """Half the squared length of the coefficients as penalty, the constant free."""
    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)


def classifier(decks, recent, width, shift):
    """Decks of a side go into five folds by turns; each fold is judged by a fit on the others."""
    x = rng.normal(0, 1, (decks, width))
    order = rng.permutation(decks)
    y = np.zeros(decks, int)
    y[order[:recent]] = 1
    x[y == 1, 0] += shift
    folds = max(2, min(5, recent, decks - recent))
    fold = np.empty(decks, int)
    fold[order[:recent]] = np.arange(recent) % folds
    fold[order[recent:]] = np.arange(decks - recent) % folds
    odds = np.empty(decks)
    for own in range(folds):
        odds[fold == own] = fitted(x[fold != own], y[fold != own]).decision_function(x[fold == own])
    whole = fitted(x, y)
    return {
        "rows": x.tolist(),
        "order": order.tolist(),
        "recent": recent,
        "coefficients": whole.coef_[0].tolist() + whole.intercept_.tolist(),
        "held_out": odds.tolist(),
        "auc": float(roc_auc_score(y, odds)),
    }


def principal(count, width, most):
    x = rng.normal(0, 1, (count, width)) @ rng.normal(0, 1, (width, width)) + rng.normal(0, 5, width)
    off = x - x.mean(0)
    values, vectors = np.linalg.eigh(off.T @ off / count)
    keep = np.argsort(values)[::-1][:most]
    keep = keep[values[keep] > 1e-9 * values.max()]
    parts = off @ vectors[:, keep] / np.sqrt(values[keep])
    return {"vectors": x.tolist(), "most": most, "products": (parts @ parts.T).tolist()}


json.dump(
    {
        "versions": {"numpy": np.__version__, "scikit-learn": sklearn.__version__},
        "classifier": [classifier(24, 9, 4, 1.0), classifier(30, 3, 3, 0.0), classifier(17, 11, 6, 6.0)],
        "principal": [principal(12, 5, 3), principal(6, 9, 8)],
    },
    sys.stdout,
)
