"""Writes statistics.json: pairs of samples and what scipy and numpy make of them.

    python3 -m venv VENV && VENV/bin/pip install scipy==1.17.1 numpy==2.4.6
    VENV/bin/python make_statistics.py > statistics.json
"""
import json
import sys

import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

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


json.dump(
    {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "cases": [
            case("same", rng.normal(0, 1, 60), rng.normal(0, 1, 40)),
            case("shifted", rng.normal(0, 1, 60), rng.normal(0.6, 1, 35)),
            case("wider", rng.normal(0, 1, 80), rng.normal(0, 2, 50)),
            case("ties", rng.integers(1, 6, 90), rng.integers(2, 6, 45)),
            case("skewed", rng.exponential(1, 70), rng.exponential(1.4, 31)),
            case("apart", rng.uniform(0, 1, 40), rng.uniform(3, 4, 33)),
        ],
    },
    sys.stdout,
)
