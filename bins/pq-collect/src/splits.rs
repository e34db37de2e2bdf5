use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use slide_data::collect::{SplitProof, Store, prove};
use slide_data::{Contract as _, GroupStats, Label, Manifest};

use crate::dataset::{labels, read_splits};
use crate::decide::decisions;
use crate::{Project, print};

/// Assigns splits to new groups, proves that they are independent, and only then writes them.
pub(crate) fn splits(store: &Store, project: &Project, freeze_test: bool, json: bool) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let labels = labels(project)?;
    let path = project.layout.splits();
    let before = read_splits(project)?;
    let mut splits = before.clone().unwrap_or_default();
    let mut groups: BTreeMap<String, GroupStats> = BTreeMap::new();
    for slide in manifest.usable() {
        let stats = groups.entry(slide.group.clone()).or_default();
        stats.slides += 1;
        count_scores(stats, labels.as_ref().and_then(|labels| labels.slides.get(&slide.slide_id)));
    }
    splits
        .assign_balanced(&groups, project.config.splits.ratios(), project.config.splits.seed)
        .hint(
            "the slides cannot be split",
            "collect more decks; decks that share much, or a page that no third deck has, count as one: see `[duplicates]` in data.toml",
        )?;
    if freeze_test {
        splits.freeze_test(&manifest);
    }
    let (ratios, thresholds) = (project.config.splits.ratios(), &project.config.duplicates);
    let proof = prove(&manifest, store.raw(), &splits, ratios, thresholds, &decisions(project)?).hint(
        "the splits are refused",
        "the slide, pair or deck named was moved by hand or by an older version; for a pair or deck, remove its group from splits.json to assign it anew",
    )?;
    if before.as_ref() != Some(&splits) {
        splits.write(&path)?;
    }
    let text = if json {
        serde_json::to_string_pretty(&proof)? + "\n"
    } else {
        describe(&proof, project.config.duplicates.difference)
    };
    print(&text)?;
    Ok(Verdict::Pass)
}

fn count_scores(stats: &mut GroupStats, label: Option<&Label>) {
    for (key, score) in label.into_iter().flat_map(Label::scored) {
        stats.scores.entry(key.to_owned()).or_default()[score.index()] += 1;
    }
}

fn describe(proof: &SplitProof, limit: f32) -> String {
    let mut text = String::new();
    let total: usize = proof.slides.values().sum();
    for (split, count) in &proof.slides {
        let _ = writeln!(
            text,
            "{:<6} {count} slides ({:.1} %, wanted {:.0} %), {} groups",
            format!("{split:?}").to_lowercase(),
            100.0 * *count as f64 / total as f64,
            100.0 * proof.wanted.get(split).copied().unwrap_or(0.0),
            proof.groups.get(split).copied().unwrap_or(0)
        );
    }
    if let Some(count) = proof.frozen_test {
        let _ = writeln!(
            text,
            "the test set is frozen at {count} slides; {} that came later are held out",
            proof.held_out
        );
    }
    let _ = writeln!(
        text,
        "proof: {} decks, each in one split; {} pairs of slides across splits compared, {} of them closely, none a near-duplicate",
        proof.decks, proof.pairs, proof.close_pairs
    );
    let _ = writeln!(
        text,
        "text of {} of {total} slides compared, no two decks of different splits say the same{}",
        proof.with_text,
        if proof.with_text < total {
            "; the others are images, or were collected before texts were read"
        } else {
            ""
        }
    );
    if proof.shared_pages > 0 {
        let _ = writeln!(
            text,
            "{} pages stand in decks of several groups; of each one slide is used, so it stands on one side",
            proof.shared_pages
        );
    }
    if proof.decided > 0 {
        let _ = writeln!(
            text,
            "{} pairs were not compared: people decided that they are different slides",
            proof.decided
        );
    }
    if let Some((a, b, difference)) = &proof.closest {
        let _ = writeln!(
            text,
            "closest: {a} and {b} differ by {difference:.2} (near-duplicates by at most {limit})"
        );
    }
    text
}
