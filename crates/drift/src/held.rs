//! What holds a retraining back, whatever the triggers say.

use jiff::Timestamp;
use project_files::VersionFile;

use crate::TriggerConfig;
use crate::look::Look;
use crate::usable::{Known, Usable};

/// What is looked at.
pub(crate) struct Holds<'a> {
    pub(crate) usable: &'a Usable,
    pub(crate) known: &'a Known,
    pub(crate) releases: &'a VersionFile,
    pub(crate) look: Look<'a>,
}

/// From the one time to the other, negative where the first is later.
pub(crate) fn days_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 86_400.0
}

/// All that holds it back. A person's wish is held back only by a retraining that runs.
pub(crate) fn held(
    holds: &Holds<'_>,
    config: &TriggerConfig,
    now: Timestamp,
    is_manual: bool,
) -> Vec<String> {
    let running = in_flight(holds, now);
    if is_manual {
        return running.into_iter().collect();
    }
    let others = [dated_ahead(holds, now), lost(holds), resting(holds, config, now), same_again(holds)];
    running.into_iter().chain(others.into_iter().flatten()).collect()
}

fn in_flight(holds: &Holds<'_>, now: Timestamp) -> Option<String> {
    let flight = holds.look.flight.filter(|flight| flight.is_in_force(holds.releases, now))?;
    let (owner, asked, until) = (&flight.owner, flight.asked_at, flight.expires_at);
    Some(format!(
        "a retraining that {owner} asked for at {asked} counts as running until {until}; `pq-trigger --done` ends it, `--done --failed` where it failed"
    ))
}

/// Where the clock or a file's dates are wrong, no length of time means anything.
fn dated_ahead(holds: &Holds<'_>, now: Timestamp) -> Option<String> {
    let ahead = |at: Timestamp| Some(days_between(now, at)).filter(|days| *days > 0.0);
    let release = || {
        let last = holds.releases.last()?;
        let days = ahead(last.released_at)?;
        Some(format!("{} is dated {days:.1} days ahead: the clock or the registry is wrong", last.version))
    };
    // Where a later decision of the journal is not ahead, the clock was set right since: the loop must not stand still until a wrong date.
    let decision = || {
        let days = ahead(holds.look.past.last()?.decided_at)?;
        Some(format!("a decision is dated {days:.1} days ahead: the clock went back, or was wrong then"))
    };
    release().or_else(decision)
}

/// A training without a file that the one before it had learns from less, or is measured on other slides.
fn lost(holds: &Holds<'_>) -> Option<String> {
    let name = holds.usable.missing.first()?;
    Some(format!("`{name}` was there and is missing: bring it back from a copy"))
}

/// Rest after a release, after a version was gone back to, and after a retraining that led to no release.
fn resting(holds: &Holds<'_>, config: &TriggerConfig, now: Timestamp) -> Option<String> {
    let rest = config.cooldown_days;
    let last = holds.releases.last();
    let released = last.map(|release| (days_between(release.released_at, now), &release.version));
    if let Some((days, version)) = released.filter(|(days, _)| (0.0..rest).contains(days)) {
        return Some(format!("{version} was released {days:.1} days ago, and {rest} are for rest"));
    }
    if let Some(days) =
        holds.known.put_in_use.map(|at| days_between(at, now)).filter(|days| (0.0..rest).contains(days))
    {
        return Some(format!(
            "the version in use was put in use {days:.1} days ago, and {rest} are for rest"
        ));
    }
    // What a clock that was wrong dated ahead hides nothing that was asked for since.
    let asked = holds.look.asked().filter(|past| past.decided_at <= now);
    let asked = asked.map(|past| past.decided_at).max()?;
    let days = days_between(asked, now);
    (0.0..rest).contains(&days).then(|| {
        format!(
            "a retraining was asked for {days:.1} days ago and led to no release, and {rest} are for rest"
        )
    })
}

/// A training that would read what an earlier one has read gives what that one gave.
fn same_again(holds: &Holds<'_>) -> Option<String> {
    if holds.usable.is_new == Some(false) {
        let advice = "have slides of the changed decks rated, or correct them";
        return Some(format!("nothing is new to learn from since the version in use was trained: {advice}"));
    }
    let past = holds.look.asked().rev().find(|past| past.training_key == holds.usable.key)?;
    let on = past.decided_at.strftime("%F");
    Some(format!("a retraining on the same labels and corrections was asked for on {on}"))
}
