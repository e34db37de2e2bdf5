"""Writes statistics.json: pairs of samples and what scipy and numpy make of them.

    python3 -m venv VENV && VENV/bin/pip install scipy==1.17.1 numpy==2.4.6
    VENV/bin/python make_statistics.py > statistics.json
"""
import json
import sys

import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, norm, t as student_t, ttest_ind, wasserstein_distance

rng = np.random.default_rng(11)


def counts(edges, values):
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def case(name, reference, recent):
    reference, recent = np.asarray(reference, float), np.asarray(recent, float)
    edges = np.unique(np.quantile(reference, np.arange(1, 10) / 10))
    if edges[0] <= reference.min():
        edges = np.insert(edges, 0, np.nextafter(reference.min(), -np.inf))
    a, b = counts(edges, reference), counts(edges, recent)
    p, q = (a + 0.5) / (a + 0.5).sum(), (b + 0.5) / (b + 0.5).sum()
    ks = ks_2samp(reference, recent, method="exact")
    return {
        "name": name,
        "reference": reference.tolist(),
        "recent": recent.tolist(),
        "reference_counts": a.tolist(),
        "recent_counts": b.tolist(),
        "psi": float(np.sum((q - p) * np.log(q / p))),
        "js_divergence": float(jensenshannon(a / a.sum(), b / b.sum(), base=2) ** 2),
        "ks": float(ks.statistic),
        "ks_p_exact": float(ks.pvalue),
        "wasserstein": float(wasserstein_distance(reference, recent)),
    }


CASES = [
    case("same", rng.normal(0, 1, 60), rng.normal(0, 1, 40)),
    case("shifted", rng.normal(0, 1, 60), rng.normal(0.6, 1, 35)),
    case("wider", rng.normal(0, 1, 80), rng.normal(0, 2, 50)),
    case("ties", rng.integers(1, 6, 90), rng.integers(2, 6, 45)),
    case("skewed", rng.exponential(1, 70), rng.exponential(1.4, 31)),
    case("apart", rng.uniform(0, 1, 40), rng.uniform(3, 4, 33)),
]


def weighted(name, a, b):
    """Samples whose values weigh differently."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    u, v = rng.uniform(0.1, 2, a.size), rng.uniform(0.1, 2, b.size)
    grid = np.unique(np.concatenate([a, b]))
    below = lambda x, w: np.array([w[x <= value].sum() for value in grid]) / w.sum()
    mean = np.average(a, weights=u)
    return {
        "name": name,
        "reference": np.stack([a, u], 1).tolist(),
        "recent": np.stack([b, v], 1).tolist(),
        "ks": float(np.abs(below(a, u) - below(b, v)).max()),
        "wasserstein": float(wasserstein_distance(a, b, u, v)),
        "quantiles": [float(np.quantile(a, q, weights=u, method="inverted_cdf")) for q in (0.05, 0.3, 0.5, 0.9)],
        "mean": float(mean),
        "deviation": float(np.sqrt(np.average((a - mean) ** 2, weights=u))),
        "effective_size": float(u.sum() ** 2 / (u * u).sum()),
    }


def t_cases():
    """Decks of one number each, both sides spreading alike: the moderated statistic is Student's."""
    cases = []
    for size in (4, 9, 30):
        noise = rng.normal(0, 1, size)
        a, b = noise + 0.2, rng.permutation(noise) + rng.normal(0.5, 0.5)
        cases.append({"a": a.tolist(), "b": b.tolist(), "squared": float(ttest_ind(a, b).statistic ** 2)})
    return cases


def discrepancy(name, recent_shift, sizes):
    """The unbiased squared MMD with the mean kernel of each two decks, in f64."""
    width, recent = 24, len(sizes) // 3
    deck = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(0, 1, (deck.size, width)) + 0.6 * rng.normal(0, 1, (len(sizes), width))[deck]
    x[deck < recent] += recent_shift
    x = x.astype(np.float32).astype(float)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    below = np.sort(np.sqrt(squared[np.tril_indices(deck.size, -1)]))
    bandwidth = below[below.size // 2]
    kernel = np.exp(-squared / (2 * bandwidth**2))
    member = (deck[None] == np.arange(len(sizes))[:, None]) / np.asarray(sizes)[:, None]
    of_decks = member @ kernel @ member.T
    np.fill_diagonal(of_decks, 0)
    m, n = recent, len(sizes) - recent
    a, b = of_decks[:m, :m], of_decks[m:, m:]
    value = a.sum() / (m * (m - 1)) + b.sum() / (n * (n - 1)) - 2 * of_decks[:m, m:].mean()
    return {
        "name": name,
        "width": width,
        "features": x.astype(float).ravel().tolist(),
        "deck": deck.tolist(),
        "recent_decks": recent,
        "bandwidth": float(bandwidth),
        "squared": float(value),
    }


def prediction_powered(decks, per_deck, every):
    """PPI++ with weights, its error from sums over decks."""
    deck = np.repeat(np.arange(decks), per_deck)
    foretold = np.clip(rng.normal(0.85, 0.1, deck.size), 0, 1)
    right = (rng.uniform(size=deck.size) < foretold).astype(float)
    part = rng.uniform(0.05, 0.3, deck.size)
    drawn = np.arange(deck.size) % every == 0
    weight = part[drawn] / rng.uniform(0.1, 1, drawn.sum())
    y, f, d = right[drawn], foretold[drawn], deck[drawn]
    fm, ym = np.average(f, weights=weight), np.average(y, weights=weight)
    slope = np.average((y - ym) * (f - fm), weights=weight) / np.average((f - fm) ** 2, weights=weight)
    tuning = np.clip(slope / (1 + y.size / deck.size), 0, 1) if y.size >= 10 else 0.0
    everything = np.average(foretold, weights=part)
    missed = y - tuning * f
    sample = np.average(missed, weights=weight)
    influence = np.bincount(d, weight * (missed - sample) / weight.sum(), decks)
    influence += np.bincount(deck, tuning * part * (foretold - everything) / part.sum(), decks)
    count = len(set(d))
    error = np.sqrt((influence**2).sum() * count / (count - 1))
    value = np.clip(tuning * everything + sample, 0, 1)
    wide = student_t.ppf(0.975, count - 1) * error
    return {
        "rated": [(int(a), float(b), float(c), float(e)) for a, b, c, e in zip(d, weight, y, f)],
        "scored": [(int(a), float(b), float(c)) for a, b, c in zip(deck, part, foretold)],
        "value": float(value),
        "error": float(error),
        "low": float(max(value - wide, 0)),
        "high": float(min(value + wide, 1)),
    }


json.dump(
    {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "cases": CASES,
        "weighted": [
            weighted("normal", rng.normal(0, 1, 50), rng.normal(0.4, 1.3, 31)),
            weighted("ties", rng.integers(1, 6, 60), rng.integers(2, 6, 45)),
            weighted("apart", rng.uniform(0, 1, 12), rng.uniform(3, 4, 9)),
        ],
        "t": t_cases(),
        "mmd": [discrepancy("same", 0, [3, 1, 4, 2, 5, 3, 1, 2, 6]), discrepancy("shifted", 0.7, [2] * 12)],
        "normal_cdf": [[z, float(norm.cdf(z))] for z in (-6.5, -3, -1, -0.1, 0, 0.5, 2, 4)],
        "estimates": [prediction_powered(8, 5, 2), prediction_powered(20, 10, 3), prediction_powered(5, 4, 4)],
    },
    sys.stdout,
)
