//! The steps of forgetting, in their order. Each may have been done before, in whole or in part.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use pq_cli::{Layout, WithHint as _};
use serde::Deserialize;
use slide_data::collect::{DecisionKind, SlideDecision, Staying, Store};
use slide_data::{Labels, Splits};
use slide_label::Journal;

use super::hand::{Hand, Traces, entries};
use super::plan::Plan;
use super::{production, runs};

/// What the steps work on.
pub(crate) struct Work<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) layout: &'a Layout,
    pub(crate) store: &'a mut Store,
    pub(crate) staying: &'a Staying,
    pub(crate) hand: Hand<'a>,
}

type Step = fn(&mut Work<'_>) -> Result<usize>;

/// The steps with what they take out. What people said goes first, so that a page that is open stops the work before anything changed;
/// what lists the slides goes before their pictures, so that no list names a picture that is not there.
const STEPS: [(&str, Step); 17] = [
    ("ratings", ratings),
    ("labels", labels),
    ("places in the splits", splits),
    ("calibration slides", calibration),
    ("decisions about slides", decisions),
    ("corrections", corrections),
    ("scored slides", predictions),
    ("pages that could not be scored", failures),
    ("kept slides", kept),
    ("audits", audits),
    ("parts of reports on production", reports),
    ("records of runs", records_of_runs),
    ("pages of validations and tracked tables", pages),
    ("cached features of all slides", features),
    ("slides", records),
    ("pictures", pictures),
    ("files", files),
];

/// Does all steps, or counts what they would do; returns how much there was of each kind.
///
/// # Errors
/// When a file cannot be read or written, or the work was stopped; doing it again finishes it.
pub(crate) fn all(work: &mut Work<'_>) -> Result<BTreeMap<String, usize>> {
    let mut removed = BTreeMap::new();
    for (name, step) in STEPS {
        let count = step(work)?;
        if count > 0 {
            removed.insert(name.to_owned(), count);
        }
    }
    Ok(removed)
}

impl Work<'_> {
    fn traces(&self) -> Traces<'_> {
        self.plan.traces()
    }
}

fn ratings(work: &mut Work<'_>) -> Result<usize> {
    let (path, traces) = (work.layout.journal(), work.traces());
    let mut removed = if work.hand.begin()? {
        let is_gone = |slide: &str| traces.gone.is_slide(slide);
        Journal::remove(&path, is_gone, |line| traces.in_text(line))
            .hint("the ratings cannot be changed", "stop pq-label, then run the same command again")?
    } else {
        work.hand.filter(&path, |line| traces.in_line(line))?
    };
    removed += work.hand.aside(&path, &traces)?;
    Ok(removed)
}

fn labels(work: &mut Work<'_>) -> Result<usize> {
    let gone = &work.plan.gone;
    work.hand.document::<Labels>(&work.layout.labels(), |labels| gone.clear_labels(labels))
}

fn splits(work: &mut Work<'_>) -> Result<usize> {
    let Plan { gone, asked, .. } = work.plan;
    let clear = |splits: &mut Splits| gone.clear_splits(splits, &asked.by, &asked.event(), asked.at);
    work.hand.document(&work.layout.splits(), clear)
}

fn calibration(work: &mut Work<'_>) -> Result<usize> {
    work.hand.json(&work.layout.calibration(), &work.traces())
}

/// A decision about several slides stays for the others; one about a pair goes with either.
fn decisions(work: &mut Work<'_>) -> Result<usize> {
    let (path, gone) = (work.layout.slide_decisions(), &work.plan.gone);
    let changed = work.hand.log::<SlideDecision>(&path, |decisions| {
        let mut changed = 0;
        decisions.retain_mut(|decision| {
            let before = decision.slides.len();
            decision.slides.retain(|slide| !gone.is_slide(slide));
            changed += usize::from(decision.slides.len() < before);
            let is_pair = matches!(decision.kind, DecisionKind::Same | DecisionKind::Different);
            !decision.slides.is_empty() && (!is_pair || decision.slides.len() == before)
        });
        changed
    })?;
    Ok(changed + work.hand.aside(&path, &work.traces())?)
}

fn corrections(work: &mut Work<'_>) -> Result<usize> {
    work.hand.lines(&work.layout.corrections(), &work.traces())
}

fn predictions(work: &mut Work<'_>) -> Result<usize> {
    production::remove_predictions(work.layout, &work.hand, &work.traces())
}

fn failures(work: &mut Work<'_>) -> Result<usize> {
    production::remove_failures(work.layout, &work.hand, &work.traces())
}

fn kept(work: &mut Work<'_>) -> Result<usize> {
    production::remove_kept(work.layout, &work.hand, &work.traces(), &work.plan.kept)
}

fn audits(work: &mut Work<'_>) -> Result<usize> {
    work.hand.lines(&work.layout.audits(), &work.traces())
}

/// Of reports as JSON the parts that name it; of pages the whole, which pq-monitor makes again.
fn reports(work: &mut Work<'_>) -> Result<usize> {
    let traces = work.traces();
    let mut removed = 0;
    for folder in [work.layout.drift_reports(), work.layout.performance_reports()] {
        for path in entries(&folder) {
            removed += work.hand.json(&path, &traces)?;
            let is_page = path.extension().is_some_and(|extension| extension == "html");
            if is_page && std::fs::read(&path).is_ok_and(|bytes| traces.in_text(&bytes)) {
                removed += work.hand.remove(&path)?;
            }
        }
    }
    Ok(removed)
}

fn records_of_runs(work: &mut Work<'_>) -> Result<usize> {
    let mut removed = 0;
    for run in runs::runs(work.layout) {
        removed += runs::clear(&run, &work.hand, &work.traces(), &work.plan.asked)?;
    }
    Ok(removed)
}

/// The pages of validations show slides, and so do tables that were tracked: those of the runs that depend on the forgotten ones go.
fn pages(work: &mut Work<'_>) -> Result<usize> {
    let traces = work.traces();
    let mut removed = 0;
    for run in runs::runs(work.layout) {
        let page = run.report();
        let name = run.dir().file_name().unwrap_or_default().to_string_lossy();
        let how = work.plan.runs.get(&*name);
        let shows = || std::fs::read(&page).is_ok_and(|bytes| traces.in_text(&bytes));
        if how.is_some() || shows() {
            removed += work.hand.remove(&page)?;
        }
        if how.is_some_and(|how| how != runs::MEASURED) {
            removed += work.hand.remove(&run.tracking())?;
            removed += work.hand.remove(&run.tensorboard())?;
        }
    }
    Ok(removed)
}

/// The cache is named by what a model makes of the pixels, which is not known here: all of it goes, and is computed again when needed.
fn features(work: &mut Work<'_>) -> Result<usize> {
    let kept = work.layout.kept().features();
    Ok(work.hand.remove(&work.layout.feature_cache())? + work.hand.remove(&kept)?)
}

fn records(work: &mut Work<'_>) -> Result<usize> {
    let Plan { gone, files, .. } = work.plan;
    let slides = work.store.slides().iter().filter(|slide| gone.is_deck(&slide.deck_id)).count();
    if work.hand.begin()? {
        work.store.forget_records(gone, files, work.staying)?;
        work.hand.begin()?;
        work.store.forget_prints()?;
    }
    let slide_files = work.layout.slides();
    for log in [slide_files.manifest(), slide_files.inputs()] {
        work.hand.aside(&log, &work.traces())?;
    }
    Ok(slides)
}

fn pictures(work: &mut Work<'_>) -> Result<usize> {
    let slides = work.layout.slides();
    let of_deck = entries(&slides.images()).into_iter().filter(|path| {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        id.is_some_and(|id| work.plan.gone.is_slide(&id))
    });
    let pictures: Vec<PathBuf> = of_deck.collect();
    pictures.iter().try_fold(0, |count, picture| Ok(count + work.hand.remove(picture)?))
}

/// A line of the index of downloads.
#[derive(Deserialize)]
struct Download {
    file: String,
    sha256: String,
}

/// The decks' own files that lie within the project: uploads, and what was fetched.
fn files(work: &mut Work<'_>) -> Result<usize> {
    let files = &work.plan.files;
    let (downloads, index) =
        (work.layout.slides().downloads(), work.layout.slides().downloads().join("index.jsonl"));
    let fetched = |line: &[u8]| {
        let download = serde_json::from_slice::<Download>(line).ok();
        download.filter(|download| files.sha256.contains(&download.sha256))
    };
    let mut removed = 0;
    for line in std::fs::read(&index).unwrap_or_default().split(|&byte| byte == b'\n') {
        let name = fetched(line).map(|download| PathBuf::from(download.file));
        if let Some(name) = name.as_ref().and_then(|name| name.file_name()) {
            removed += work.hand.remove(&downloads.join(name))?;
        }
    }
    work.hand.filter(&index, |line| fetched(line).is_some())?;
    for place in &files.own {
        let path = &work.layout.slides().root().join(place);
        // Another file may lie there by now.
        let is_same = durable_files::hash_file(path).is_ok_and(|file| files.sha256.contains(&file.sha256));
        if is_same {
            removed += work.hand.remove(path)?;
        }
        work.hand.remove_empty(path, &work.layout.slides().uploads())?;
    }
    Ok(removed)
}
