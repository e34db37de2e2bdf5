//! What it is for, and what is known of its limits.

use super::Subject;
use super::text::{bullets, count, plain};

pub(super) fn section(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let mut facts = vec![
        learned_from(subject),
        "It gives every slide a score on every criterion, also where people would say that the criterion does not apply."
            .to_owned(),
    ];
    facts.extend(subject.criteria().iter().flat_map(|(key, name)| not_measured(subject, key, name)));
    facts.extend(results.power.iter().map(|power| plain(power)));
    if results.human_ceiling.is_none() {
        facts.push("What people reach against each other was not measured.".to_owned());
    }
    facts.extend(subject.longest_edge().map(small_text));
    format!(
        "## What it is for, and what limits it\n\n\
         It is meant to give the author of a deck quick feedback by a rubric, and to order slides for people to look at. It was \
         not made and not measured for decisions about people, funding or employment.\n\n{}",
        bullets(facts)
    )
}

fn small_text(edge: i64) -> String {
    format!("Images are scaled to a longest edge of {edge} pixels: smaller text is not seen.")
}

fn learned_from(subject: &Subject<'_>) -> String {
    let data = &subject.record.data;
    format!(
        "It learned from {} of the {} that have ratings of one team, in {}. No other team's slides or raters were measured.",
        count(data.train_slides, "slide"),
        data.slides,
        count(data.decks, "deck")
    )
}

/// On which of the evaluated slides a criterion was not measured, if on any.
fn not_measured(subject: &Subject<'_>, key: &str, name: &str) -> Vec<String> {
    let sizes = &subject.results.sizes;
    let mut facts = Vec::new();
    let silent = sizes.not_applicable.get(key).copied().unwrap_or_default();
    if silent > 0 {
        facts.push(format!(
            "People said of {} of the {} evaluated slides that {} does not apply; its scores there were not measured.",
            silent,
            sizes.slides,
            plain(name).to_lowercase()
        ));
    }
    if sizes.criteria.get(key).is_none_or(|ratings| *ratings == 0) {
        facts.push(format!("{} was not measured: no evaluated slide has a rating of it.", plain(name)));
    }
    facts
}
