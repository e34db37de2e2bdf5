//! What it is for, and what is known of its limits.

use super::Subject;
use super::text::{bullets, count, plain};

pub(super) fn section(subject: &Subject<'_>) -> String {
    let (results, record) = (subject.results, subject.record);
    let mut facts = vec![
        format!(
            "It learned from {} of the {} that have ratings of one team, in {}. No other team's slides or raters were measured.",
            count(record.data.train_slides, "slide"),
            record.data.slides,
            count(record.data.decks, "deck")
        ),
        "It gives every slide a score on every criterion, also where people would say that the criterion does not apply."
            .to_owned(),
    ];
    for (key, name) in subject.criteria() {
        let silent = results.sizes.not_applicable.get(&key).copied().unwrap_or_default();
        if silent > 0 {
            facts.push(format!(
                "People said of {} of the {} evaluated slides that {} does not apply; its scores there were not measured.",
                silent,
                results.sizes.slides,
                plain(&name).to_lowercase()
            ));
        }
        if results.sizes.criteria.get(&key).is_none_or(|ratings| *ratings == 0) {
            facts.push(format!("{} was not measured: no evaluated slide has a rating of it.", plain(&name)));
        }
    }
    facts.extend(results.power.iter().map(|power| plain(power)));
    if results.human_ceiling.is_none() {
        facts.push("What people reach against each other was not measured.".to_owned());
    }
    if let Some(edge) = subject.longest_edge() {
        facts
            .push(format!("Images are scaled to a longest edge of {edge} pixels: smaller text is not seen."));
    }
    format!(
        "## What it is for, and what limits it\n\n\
         It is meant to give the author of a deck quick feedback by a rubric, and to order slides for people to look at. It was \
         not made and not measured for decisions about people, funding or employment.\n\n{}",
        bullets(facts)
    )
}
