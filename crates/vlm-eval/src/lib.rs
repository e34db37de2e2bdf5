//! How good a rater is: metrics, clustered intervals, baselines, the gate, reports.
