use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict, WithHint};
use slide_data::collect::{SplitProof, Store, prove};
use slide_data::{
    Contract as _, GroupStats, Label, Labels, Manifest, Splits, TestLabelChange, TestSetChange,
};

use crate::dataset::{labels, read_splits};
use crate::decide::decisions;
use crate::{Project, print};

/// What becomes of the test set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestSet<'a> {
    /// Whether it is frozen now.
    pub(crate) freeze: bool,
    /// Why its labels become what people say now.
    pub(crate) accept: Option<&'a str>,
    /// Who says so.
    pub(crate) by: Option<&'a str>,
}

/// Assigns splits to new groups, proves that they are independent, and only then writes them.
pub(crate) fn splits(store: &Store, project: &Project, test: TestSet<'_>, json: bool) -> Result<Verdict> {
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
    if test.freeze {
        splits.freeze_test(&manifest);
    }
    let labels = labels.unwrap_or_default();
    let changes = Changes::of(&splits, &labels);
    if let Some(why) = test.accept {
        accept(&mut splits, &labels, why, test.by)?;
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
        changes.in_json(&proof, &splits)?
    } else {
        describe(&proof, project.config.duplicates.difference)
            + &lost(&splits)
            + &changes.in_words(&splits, test.accept.is_some())
    };
    print(&text)?;
    Ok(Verdict::Pass)
}

/// What the frozen test set lost, because it was forgotten: a line an event.
fn lost(splits: &Splits) -> String {
    let events = splits.test_history.iter().filter(|event| event.lost > 0);
    let line = |event: &TestSetChange| {
        let TestSetChange { lost, at, by, why, .. } = event;
        format!(
            "the test set lost {lost} slides on {at} ({by}: {why}); what was validated before is not comparable\n"
        )
    };
    events.map(line).collect()
}

/// Takes over what people say now of the slides of the test set.
fn accept(splits: &mut Splits, labels: &Labels, why: &str, by: Option<&str>) -> Result<()> {
    if why.trim().is_empty() {
        bail!(Hint::new(
            "no reason is given",
            "say why: `--accept-test-labels \"a rater had read the scale upside down\"`"
        ));
    }
    if splits.test_labels.is_none() {
        let remedy =
            "the first training freezes them; until then a model is measured against what people say now";
        bail!(Hint::new("the labels of the test set are not frozen", remedy));
    }
    splits.accept_test_labels(labels, &pq_cli::asked_by(by), why, jiff::Timestamp::now());
    Ok(())
}

/// What people say of the slides of the frozen test set that its labels do not: a line a criterion.
struct Changes(Vec<(String, Vec<String>)>);

impl Changes {
    fn of(splits: &Splits, labels: &Labels) -> Self {
        let of_slide = |change: TestLabelChange<'_>| (change.slide_id.to_owned(), differences(&change));
        Self(splits.changed_test_labels(labels).into_iter().map(of_slide).collect())
    }

    fn in_json(&self, proof: &SplitProof, splits: &Splits) -> Result<String> {
        let mut value = serde_json::to_value(proof)?;
        value["test_label_changes"] =
            serde_json::to_value(self.0.iter().cloned().collect::<BTreeMap<_, _>>())?;
        value["test_history"] = serde_json::to_value(&splits.test_history)?;
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }

    fn in_words(&self, splits: &Splits, is_accepted: bool) -> String {
        let (mut text, count) = (String::new(), self.0.len());
        if splits.test_labels.is_some() && (count > 0 || is_accepted) {
            let _ = writeln!(
                text,
                "of {count} slides of the test set people say something else than when it was frozen:"
            );
        }
        for (slide, lines) in &self.0 {
            let _ = writeln!(text, "  {slide}: {}", lines.join(", "));
        }
        match splits.test_history.last() {
            Some(last) if is_accepted && count > 0 => {
                let short = |hash: &str| hash.chars().take(12).collect::<String>();
                let before = last.before.as_deref().map_or_else(|| "none".to_owned(), short);
                let _ = writeln!(
                    text,
                    "a model is measured against these from now on; noted for {}: {} (labels {before} before, {} after). What was validated before is not comparable: validate again",
                    last.by,
                    last.why,
                    short(&last.after)
                );
            }
            Some(_) if count > 0 => {
                let _ = writeln!(
                    text,
                    "they are measured as they were; `pq-collect splits --accept-test-labels REASON` takes over what people say now"
                );
            }
            _ => {}
        }
        text
    }
}

/// As in "clarity 4, was 2".
fn differences(change: &TestLabelChange<'_>) -> Vec<String> {
    let labels = [change.frozen, change.now];
    let keys: BTreeSet<&String> =
        labels.into_iter().flatten().flat_map(|label| label.scores.keys()).collect();
    let differs = |key: &&String| {
        let [frozen, now] = labels.map(|label| label.map(|label| label.target(key)));
        frozen != now
    };
    let said = |label: Option<&Label>, key: &String| match label.and_then(|label| label.scores.get(key)) {
        Some(Some(score)) => score.get().to_string(),
        Some(None) => "not applicable".to_owned(),
        None => "not rated".to_owned(),
    };
    let line = |key: &String| match labels.map(|label| said(label, key)) {
        [frozen, now] if frozen == now => format!("{key} {now} as before, by other ratings"),
        [frozen, now] => format!("{key} {now}, was {frozen}"),
    };
    keys.into_iter().filter(differs).map(line).collect()
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
