use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::store::Store;
use crate::imaging::{decode, pixels_sha256};
use crate::{Limits, Manifest};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The slide or file.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
}

/// Checks the whole store: each listed slide has its image with the pixels it was listed with, ids are unique, duplicates point
/// at slides that exist, each deck stands in one group. Images without a line are an interrupted run's; the next run takes
/// them in, so they are no finding.
pub fn verify(store: &Store) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |subject: &str, problem: String| {
        findings.push(Finding { subject: subject.to_owned(), problem });
    };
    let ids: HashSet<&str> = store.slides().iter().map(|slide| slide.slide_id.as_str()).collect();
    if ids.len() < store.slides().len() {
        report("the manifest", format!("{} slide ids are repeated", store.slides().len() - ids.len()));
    }
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for slide in store.slides() {
        if slide.schema_version != <crate::SlideRecord as crate::Contract>::VERSION {
            report(
                &slide.slide_id,
                format!("its record has version {}, which nothing wrote", slide.schema_version),
            );
        }
        if let Some(target) = slide.duplicate_of.as_deref().filter(|target| !ids.contains(target)) {
            report(&slide.slide_id, format!("repeats `{target}`, which is not in the store"));
        }
        if !slide.group.is_empty() && *groups.entry(&slide.deck_id).or_insert(&slide.group) != slide.group {
            report(&slide.slide_id, format!("its deck `{}` stands in two groups", slide.deck_id));
        }
        match std::fs::read(Manifest::image_path(store.raw(), &slide.slide_id)) {
            Err(error) => report(&slide.slide_id, format!("its image cannot be read: {error}")),
            Ok(bytes) => match decode(&bytes, &Limits { max_edge: u32::MAX, ..Limits::default() }) {
                Err(reason) => report(&slide.slide_id, format!("its image {reason}")),
                Ok(image) if pixels_sha256(&image) != slide.sha256 => {
                    report(&slide.slide_id, "its image is not the one that was collected".to_owned());
                }
                Ok(_) => {}
            },
        }
    }
    findings
}
