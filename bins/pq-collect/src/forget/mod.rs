//! `pq-collect forget`: a deck leaves the project.
//!
//! What is to be done is written down first; every step may be done again, so whoever is stopped, or killed, finishes by running the
//! command again. At the end a receipt without content is left, by which the same file is known when it comes again.

mod asked;
mod choose;
mod hand;
mod plan;
mod production;
mod runs;
mod steps;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use jiff::Timestamp;
use pq_cli::{Hint, Layout, Verdict, WithHint};
use slide_data::collect::{Forgotten, Staying, Store};
use slide_data::{Contract as _, write_json};

use crate::{Project, print};
use asked::Asked;
use hand::{Hand, Stopped};
use plan::Plan;
use steps::Work;
use words::Outcome;

/// What is asked for.
pub(crate) struct Request<'a> {
    /// A deck, a file or an owner; none to finish what was stopped.
    pub(crate) name: Option<&'a str>,
    pub(crate) dry_run: bool,
    pub(crate) reason: Option<&'a str>,
    pub(crate) by: Option<&'a str>,
}

/// Refuses to go on while something is half forgotten.
///
/// # Errors
/// When that is so.
pub(crate) fn refuse_unfinished(layout: &Layout) -> Result<()> {
    if plan::path(layout).exists() {
        let remedy = "finish it: `pq-collect forget`, without a name";
        bail!(Hint::new("a forgetting was stopped before its end, and the store is not whole", remedy));
    }
    Ok(())
}

/// Forgets, says what would be forgotten, or finishes what was stopped.
pub(crate) fn forget(
    store: &mut Store,
    project: &Project,
    request: &Request<'_>,
    json: bool,
) -> Result<Verdict> {
    let layout = &project.layout;
    let staying = crate::dataset::staying(project).hint(
        "the project cannot be read",
        "mend the file, or restore it from a copy; nothing was changed",
    )?;
    let begun = Plan::read_if_present(&plan::path(layout))?;
    if let Some(plan) = begun {
        if request.dry_run {
            refuse_unfinished(layout)?;
        }
        tracing::info!("finishing what was begun on {}", plan.asked.at);
        let is_meant = request.name.is_none_or(|name| is_name_of(&plan, name));
        let verdict = finish(store, layout, &staying, &plan, json)?;
        if is_meant || verdict == Verdict::Stopped {
            return Ok(verdict);
        }
    }
    let Some(name) = request.name else {
        bail!(Hint::new("nothing is to be finished", "name a deck, a file or an owner"));
    };
    if let Some(receipt) = forgotten_before(store, name)? {
        print(&format!(
            "`{name}` was forgotten on {} for {}; nothing is left to do\n",
            receipt.at, receipt.by
        ))?;
        return Ok(Verdict::Pass);
    }
    let decks = choose::choose(store, layout, name)?;
    let asked = Asked {
        by: pq_cli::asked_by(request.by),
        why: request.reason.unwrap_or_default().to_owned(),
        at: Timestamp::now(),
    };
    let plan = make(store, layout, &staying, decks, asked)?;
    if request.dry_run {
        say(&Outcome::of(&plan, true, Vec::new()), json)?;
        return Ok(Verdict::Pass);
    }
    write_json(&plan::path(layout), &plan)?;
    finish(store, layout, &staying, &plan, json)
}

/// The plan, with what it comes to.
fn make(
    store: &mut Store,
    layout: &Layout,
    staying: &Staying,
    decks: BTreeSet<String>,
    asked: Asked,
) -> Result<Plan> {
    let mut plan = Plan::make(store, layout, decks, asked).hint(
        "it cannot be told what is to be forgotten",
        "mend the file, or restore it from a copy; nothing was changed",
    )?;
    let hand = Hand { writes: false, stop: &pq_cli::interrupted };
    plan.removed = steps::all(&mut Work { plan: &plan, layout, store, staying, hand })?;
    Ok(plan)
}

/// Whether a plan is about what is named: one that is begun is finished for its own name, whatever is left of the records.
fn is_name_of(plan: &Plan, name: &str) -> bool {
    let origins = &plan.files.origins;
    plan.gone.is_deck(name)
        || origins.iter().any(|origin| origin == name || origin.ends_with(&format!("/{name}")))
}

fn forgotten_before(store: &Store, name: &str) -> Result<Option<Forgotten>> {
    let is_there = store.slides().iter().any(|slide| slide.deck_id == name);
    let receipts = Forgotten::read_log_if_present(&store.forgotten())?.entries;
    let mark = Forgotten::mark(name);
    Ok(receipts.into_iter().rev().find(|receipt| !is_there && receipt.decks.contains(&mark)))
}

/// Does the steps, leaves the receipt, says what came of it, and removes the plan.
fn finish(store: &mut Store, layout: &Layout, staying: &Staying, plan: &Plan, json: bool) -> Result<Verdict> {
    match carry_out(store, layout, staying, plan, &pq_cli::interrupted) {
        Ok(outcome) => {
            say(&outcome, json)?;
            Ok(Verdict::Pass)
        }
        Err(error) if error.is::<Stopped>() => {
            tracing::warn!("stopped; `pq-collect forget` finishes it");
            Ok(Verdict::Stopped)
        }
        Err(error) => Err(error).hint(
            "what was begun is not at its end",
            "mend what is named, then finish it: `pq-collect forget`",
        ),
    }
}

fn carry_out<'p>(
    store: &mut Store,
    layout: &Layout,
    staying: &Staying,
    plan: &'p Plan,
    stop: &dyn Fn() -> bool,
) -> Result<Outcome<'p>> {
    let hand = Hand { writes: true, stop };
    steps::all(&mut Work { plan, layout, store, staying, hand })?;
    let hand = Hand { writes: true, stop };
    hand.begin()?;
    crate::collect::write_contact_sheet(store)?;
    let folders = [layout.data(), layout.outputs(), layout.monitoring()].map(std::path::Path::to_owned);
    let own = [plan::path(layout), store.forgotten()];
    let mut left = plan::speaking(&folders, &plan.traces());
    left.retain(|path| !own.contains(path));
    hand.begin()?;
    let receipts = Forgotten::read_log_if_present(&store.forgotten())?.entries;
    if !receipts.iter().any(|receipt| receipt.id == plan.id) {
        Forgotten::append(&store.forgotten(), &[plan.receipt(left.len() + plan.released.len())])?;
    }
    hand.begin()?;
    hand.remove(&plan::path(layout))?;
    Ok(Outcome::of(plan, false, left))
}

fn say(outcome: &Outcome<'_>, json: bool) -> Result<()> {
    let text = if json { serde_json::to_string_pretty(outcome)? + "\n" } else { outcome.in_words() };
    print(&text)
}
