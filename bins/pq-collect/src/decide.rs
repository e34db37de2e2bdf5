//! What people decide about slides.

use anyhow::{Result, bail};
use jiff::Timestamp;
use pq_cli::{Verdict, WithHint};
use slide_data::collect::{DecisionKind, Decisions, SlideDecision, Store};
use slide_data::{Contract as _, Error};

use crate::args::{Args, What};
use crate::inspect::slides_of;
use crate::{Project, collect};

/// The decisions that hold.
pub(crate) fn decisions(project: &Project) -> Result<Decisions> {
    let log = SlideDecision::read_log_if_present(&project.layout.slide_decisions())?;
    Ok(Decisions::of(&log.entries))
}

/// What is to be decided.
pub(crate) struct Request<'a> {
    pub(crate) what: What,
    pub(crate) slides: &'a [String],
    pub(crate) by: &'a str,
    pub(crate) why: &'a str,
}

/// Notes the decision and applies it.
pub(crate) fn decide(
    store: &mut Store,
    args: &Args,
    project: &Project,
    request: &Request<'_>,
) -> Result<Verdict> {
    let kind = match request.what {
        What::Exclude => DecisionKind::Exclude,
        What::Include => DecisionKind::Include,
        What::Automatic => DecisionKind::Automatic,
        What::Same => DecisionKind::Same,
        What::Different => DecisionKind::Different,
        What::Licence => DecisionKind::Licence,
    };
    let mut slides = Vec::new();
    for name in request.slides {
        let found = slides_of(store, name);
        if found.is_empty() {
            return Err(Error::NoSuchSlide(name.clone())).hint(
                "nothing was decided",
                "give the ids of slides or decks, or the files that they came from; `pq-collect show` lists the slides of a deck",
            );
        }
        slides.extend(found.into_iter().map(|slide| slide.slide_id.clone()));
    }
    let decision = SlideDecision {
        schema_version: SlideDecision::VERSION,
        kind,
        slides,
        license: args.license.clone(),
        by: request.by.to_owned(),
        why: request.why.to_owned(),
        at: Timestamp::now(),
    };
    if let Err(reason) = decision.check() {
        bail!("the decision cannot be noted: {reason}");
    }
    SlideDecision::append(&project.layout.slide_decisions(), &[decision])?;
    collect::renew(store, args, project)
}
