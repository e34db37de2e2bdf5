"""Prints student.json: (p, degrees of freedom, scipy.stats.t.ppf).

    python3 -m venv VENV && VENV/bin/pip install scipy==1.17.1
    VENV/bin/python make_student.py > student.json
"""
import json

from scipy.stats import t

P = [0.001, 0.025, 0.05, 0.2, 0.4, 0.6, 0.9, 0.95, 0.975, 0.995, 0.9999]
DEGREES = [0.5, 1, 1.5, 2, 3, 4, 6.2, 7, 11, 19, 49, 99, 1000.5, 1e6]
print(json.dumps([[p, d, float(t.ppf(p, d))] for p in P for d in DEGREES]))
