"""Writes student.json, (p, degrees of freedom, scipy.stats.t.ppf), and student_tail.json, (t, degrees of freedom, scipy.stats.t.sf).

    python3 -m venv VENV && VENV/bin/pip install scipy==1.17.1
    VENV/bin/python make_student.py
"""
import json
from pathlib import Path

from scipy.stats import t

P = [0.001, 0.025, 0.05, 0.2, 0.4, 0.6, 0.9, 0.95, 0.975, 0.995, 0.9999]
T = [-40.0, -6.0, -2.0, -1e-3, 0.0, 1e-6, 0.3, 1.0, 1.96, 3.7, 6.0, 12.0, 40.0]
DEGREES = [0.5, 1, 1.5, 2, 3, 4, 6.2, 7, 11, 19, 49, 99, 1000.5, 1e6]


def write(name, table):
    Path(__file__).with_name(name).write_text(json.dumps(table) + "\n")


write("student.json", [[p, d, float(t.ppf(p, d))] for p in P for d in DEGREES])
write("student_tail.json", [[x, d, float(t.sf(x, d))] for x in T for d in DEGREES])
