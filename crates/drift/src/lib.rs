//! What changed in production: drift, performance, corrections, the retraining decision.
