use std::collections::BTreeMap;

use ::drift::{DriftReport, DriftStatus, FeatureDrift, FeatureGroup, GroupPower, MovedDeck, VisionDrift};
use minijinja::{Value, context};

use crate::format::{chance, number, percent, significant, time};
use crate::page::render;
use crate::plots::distributions;
use crate::{Image, Result};

/// A slide of a deck that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleSlide {
    /// What people know it by, as in "pitch.pdf, slide 3".
    pub name: String,
    /// The slide.
    pub image: Image,
}

/// `latest_drift.html`: the finding first, with a slide of each deck that differs most as far as `images` has one by the deck's id, then each
/// feature with its statistics and distribution functions; one self-contained file.
///
/// # Errors
/// When a template fails, which no input should cause.
pub fn render_drift_report(report: &DriftReport, images: &BTreeMap<String, ExampleSlide>) -> Result<String> {
    let (class, finding) = match report.status {
        DriftStatus::Stable if has_changed(report) => {
            ("pass", "Some features changed, not enough to count as drift")
        }
        DriftStatus::Stable => ("pass", "No drift seen"),
        DriftStatus::Drifted => ("fail", "Drift: recent slides differ from those of training"),
        DriftStatus::Insufficient => ("unsure", "Too little data to tell"),
    };
    render(
        "drift.html",
        context! {
            title => "Drift report",
            class => class,
            finding => finding,
            score => number(report.drift_score, 2),
            threshold => number(Some(report.threshold), 2),
            bar => number(report.drift_score.map(|score| 100.0 * score), 1),
            mark => number(Some(100.0 * report.threshold), 1),
            has_score => report.drift_score.is_some(),
            has_images => report.decks.iter().any(|moved| images.contains_key(&moved.deck_id)),
            reasons => report.reasons,
            sizes => report.sizes,
            model_version => report.model_version,
            created_at => time(report.created_at),
            alpha => number(Some(report.alpha), 2),
            power_shift => report.power_shift_in_words(),
            permutations => report.permutations,
            decks => report.decks.iter().map(|moved| deck(moved, images)).collect::<Vec<_>>(),
            groups => report.groups.iter().map(group).collect::<Vec<_>>(),
            features => report.features.iter().map(row).collect::<Vec<_>>(),
            vision => report.vision.as_ref().map(|seen| vision(seen, images)),
            inputs => report.inputs.iter().collect::<Vec<_>>(),
        },
    )
}

fn has_changed(report: &DriftReport) -> bool {
    report.features.iter().any(|feature| feature.drifted)
        || report.vision.as_ref().is_some_and(|vision| vision.drifted)
}

fn vision(vision: &VisionDrift, images: &BTreeMap<String, ExampleSlide>) -> Value {
    let shown =
        |deck: &String| images.get(deck).map(|slide| context! { deck => deck, shown => example(slide) });
    context! {
        drifted => vision.drifted,
        mmd => significant(vision.mmd_squared),
        mmd_p => chance(vision.mmd_p_value),
        auc => number(Some(vision.auc), 2),
        auc_p => chance(vision.auc_p_value),
        adjusted => chance(vision.adjusted_p_value),
        ks => number(Some(vision.ks), 2),
        permutations => vision.permutations,
        sizes => format!("{} slides of {} recent decks, {} of {} decks of training", vision.recent_slides, vision.recent_decks, vision.reference_slides, vision.reference_decks),
        most_unlike => vision.most_unlike.join(", "),
        examples => vision.most_unlike.iter().filter_map(shown).collect::<Vec<_>>(),
    }
}

fn example(slide: &ExampleSlide) -> Value {
    context! { name => slide.name, image => slide.image.data_uri() }
}

fn deck(deck: &MovedDeck, images: &BTreeMap<String, ExampleSlide>) -> Value {
    context! {
        deck => deck.deck_id,
        slides => deck.slides,
        distance => number(Some(deck.distance), 1),
        features => deck.features.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
        example => deck.example_slide,
        shown => images.get(&deck.deck_id).map(example),
    }
}

fn group(group: &GroupPower) -> Value {
    let name = match group.group {
        FeatureGroup::Image => "images",
        FeatureGroup::Model => "scores",
        FeatureGroup::Presence => "what is missing",
    };
    let more = match (group.power, group.more_slides.zip(group.more_decks)) {
        (None, _) => "nothing to compare".to_owned(),
        (_, Some((slides, decks))) => format!("{slides} more slides of {decks} more decks"),
        (Some(_), None) => String::new(),
    };
    context! {
        name => name,
        power => percent(group.power),
        weakest => group.weakest,
        is_weak => group.more_decks.is_some(),
        more => more,
    }
}

fn row(feature: &FeatureDrift) -> Value {
    context! {
        name => feature.name,
        drifted => feature.drifted,
        reference_mean => significant(feature.reference_mean),
        recent_mean => significant(feature.recent_mean),
        psi => number(Some(feature.psi), 2),
        js => number(Some(feature.js_divergence), 3),
        ks => number(Some(feature.ks), 2),
        wasserstein => significant(feature.wasserstein),
        p => chance(feature.p_value),
        adjusted => chance(feature.adjusted_p_value),
        power => percent(feature.power),
        strength => number(Some(feature.strength), 2),
        sizes => format!("{} / {}", feature.reference_slides, feature.recent_slides),
        plot => distributions(feature),
    }
}
