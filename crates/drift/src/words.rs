//! A comparison in words.

use crate::DriftConfig;
use crate::features::FeatureGroup;
use crate::power::GroupPower;
use crate::report::{DriftReport, DriftSizes, DriftStatus, FeatureDrift, MovedDeck};
use crate::vision::VisionDrift;

/// Why nothing can be compared.
pub(crate) fn too_few(sizes: &DriftSizes, lines: usize, config: &DriftConfig) -> Vec<String> {
    let lack = |have: usize, need: usize, what: &str| {
        (have < need).then(|| format!("{have} {what}; at least {need} are needed"))
    };
    let broken = sizes.broken_lines;
    let is_broken = broken as f64 > config.max_broken_share * (lines + broken) as f64;
    let unread = || {
        let (all, allowed) = (lines + broken, 100.0 * config.max_broken_share);
        format!(
            "{broken} of {all} lines of the log cannot be read, more than {allowed} %: nothing is concluded from the others"
        )
    };
    [
        is_broken.then(unread),
        lack(sizes.reference_slides, config.min_slides, "slides of training"),
        lack(sizes.reference_decks, config.min_decks, "decks of training"),
        lack(sizes.recent_slides, config.min_slides, "recently scored slides"),
        lack(sizes.recent_decks, config.min_decks, "recently scored decks"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// That a part of the log cannot be read.
pub(crate) fn unread(why: &str) -> String {
    format!("{why}: nothing is concluded from the other slides")
}

/// What does not count.
pub(crate) fn set_aside(sizes: &DriftSizes) -> Vec<String> {
    [
        (sizes.other_versions, "slides were scored by another version or run and do not count"),
        (
            sizes.seen_in_training,
            "slides are of those that the version was trained or chosen on and do not count",
        ),
        (sizes.dated_ahead, "slides are dated ahead of now and do not count"),
        (sizes.broken_lines, "lines of the log cannot be read and are passed over"),
        (sizes.errors, "files or pages were handed in and could not be read or scored"),
        (sizes.refusals, "files or pages were refused: too large, protected, or no slides"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

fn group_name(group: FeatureGroup) -> &'static str {
    match group {
        FeatureGroup::Image => "images",
        FeatureGroup::Model => "scores",
        FeatureGroup::Presence => "what is missing",
    }
}

pub(crate) fn reasons(report: &DriftReport, score: f64, config: &DriftConfig) -> Vec<String> {
    let threshold = report.threshold;
    let mut reasons = vec![match report.status {
        DriftStatus::Drifted => format!("the drift score {score:.2} is above {threshold:.2}"),
        DriftStatus::Stable => format!(
            "the drift score {score:.2} is not above {threshold:.2}, and a shift of {} would have been seen",
            report.power_shift_in_words()
        ),
        DriftStatus::Insufficient => {
            format!(
                "the drift score {score:.2} is not above {threshold:.2}, but a change could hide: too little data"
            )
        }
    }];
    let is_lost = |feature: &&FeatureDrift| {
        feature.drifted
            && feature.group == FeatureGroup::Presence
            && feature.recent_mean < feature.reference_mean
    };
    reasons.extend(report.features.iter().filter(is_lost).map(lost));
    let changed = report.features.iter().filter(|feature| feature.drifted && !is_lost(feature));
    let changed: Vec<&str> = changed.map(|feature| feature.name.as_str()).collect();
    if !changed.is_empty() {
        reasons.push(format!("changed: {}", changed.join(", ")));
    }
    reasons.extend(farthest(&report.decks));
    reasons.extend(report.groups.iter().filter_map(|group| lack(group, report, config)));
    if !report.left_out.is_empty() {
        reasons.push(format!(
            "not compared, as too few slides or decks have them, all have the same, or training did not know them: {}",
            report.left_out.join(", ")
        ));
    }
    reasons
}

/// The deck that differs most, or one of those that do.
fn farthest(decks: &[MovedDeck]) -> Option<String> {
    let (first, last) = (decks.first()?, decks.last()?);
    let which = if decks.len() > 1 && first.distance - last.distance < 1e-9 {
        "no deck differs more than others; one of them is"
    } else {
        "the deck that differs most is"
    };
    Some(format!("{which} {}, as in slide {}", first.deck_id, first.example_slide))
}

/// What the vision tower saw, or why that was not compared.
pub(crate) fn of_vision(seen: &Result<(VisionDrift, Option<String>), String>) -> Vec<String> {
    let (vision, set_aside) = match seen {
        Err(why) => return vec![format!("vision features: not compared, as {why}")],
        Ok((vision, set_aside)) => (vision, set_aside.clone()),
    };
    let found = if vision.drifted {
        let least_like = vision
            .most_unlike
            .first()
            .map_or_else(String::new, |deck| format!("; least like training is {deck}"));
        format!(
            "vision features: recent decks look different from those of training; a classifier tells them apart with an area under the curve of {:.2} (0.5 is chance), and of 100 slides {:.0} lie on the other side{least_like}",
            vision.auc,
            100.0 * vision.ks
        )
    } else {
        "vision features: recent decks look like those of training, as far as decks can tell".to_owned()
    };
    set_aside.into_iter().chain([found]).collect()
}

/// As in "charts are on 2 % of recent slides".
fn lost(feature: &FeatureDrift) -> String {
    let name = feature.name.trim_start_matches("presence.");
    let percent = |share: f64| 100.0 * share;
    if feature.is_of_failures() {
        return format!(
            "of a deck that is handed in {:.0} % are {name} on average, of a file that was collected {:.0} %",
            percent(feature.recent_mean),
            percent(feature.reference_mean)
        );
    }
    format!(
        "missing: {name} is on {:.0} % of recent slides, of training on {:.0} %",
        percent(feature.recent_mean),
        percent(feature.reference_mean)
    )
}

/// What a group lacks to be judged.
fn lack(group: &GroupPower, report: &DriftReport, config: &DriftConfig) -> Option<String> {
    let name = group_name(group.group);
    let Some(power) = group.power else {
        // Where nothing is missing on either side there is no presence to compare.
        return (group.group != FeatureGroup::Presence)
            .then(|| format!("{name}: not compared, as too few slides or decks of either side have any"));
    };
    if power >= config.min_power || group.group == FeatureGroup::Presence {
        return None;
    }
    let shift = report.power_shift_in_words();
    let weakest = group.weakest.as_deref().unwrap_or_default();
    let more = group.more_slides.zip(group.more_decks).map_or_else(
        || {
            // Of slides that were trained on no scores are compared.
            let side = if group.group == FeatureGroup::Model { "validation" } else { "training" };
            format!("no number of recent decks would be enough: more decks of {side} are needed")
        },
        |(slides, decks)| format!("{slides} more slides of {decks} more decks would be enough"),
    );
    Some(format!(
        "{name}: a shift of {shift} in {weakest} would be seen with a chance of {:.0} %; {more}",
        100.0 * power
    ))
}
