//! What was trained and released: run tracking, versions, model card, Hub, rollback.
