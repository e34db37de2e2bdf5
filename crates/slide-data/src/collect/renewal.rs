//! What a run applies anew to the slides of earlier ones: the rules of `data.toml`, licences, and that files were replaced.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::decision::Decisions;
use super::duplicates::repeat;
use super::report::Progress;
use super::staying::Staying;
use super::store::{InputRecord, Outcome, Store};
use crate::imaging::{MEASURED, QualityThresholds, decode, quality_flags};
use crate::render::InputFile;
use crate::{Limits, Manifest, Result, SlideRecord, write_json};

/// The flag of a slide whose file was replaced by a version without it.
const REPLACED: &str = "replaced";
/// The flag of a slide that a person left out.
const DECIDED: &str = "decided";

/// What changed of the slides of earlier runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Renewed {
    pub(super) excluded: usize,
    pub(super) included: usize,
    pub(super) licences: usize,
    pub(super) replaced: usize,
    pub(super) held: usize,
}

impl Renewed {
    fn is_any(self) -> bool {
        self != Self { held: self.held, ..Self::default() }
    }
}

/// Measures all slides again where the thresholds are not those that they were measured with; when that is interrupted, the next run does
/// it.
pub(super) fn measure(store: &mut Store, rules: &QualityThresholds, progress: &dyn Progress) -> Result<()> {
    let Some(mut flags) = measured(store, rules, progress)? else { return Ok(()) };
    for (at, slide) in store.slides_mut().iter_mut().enumerate() {
        let Some(mut now) = flags.remove(&at) else { continue };
        let kept = slide.quality.iter().filter(|(flag, _)| !MEASURED.contains(&flag.as_str()));
        now.extend(kept.map(|(flag, value)| (flag.clone(), *value)));
        slide.quality = now;
    }
    store.rewrite_manifest()?;
    Ok(write_json(&rules_of(store), rules)?)
}

/// Decides of all slides which are used and under which licence: by their flags, the rules, their files, and what people decided. A slide
/// of the frozen test set stays in use.
pub(super) fn judge(
    store: &mut Store,
    inputs: &[InputFile],
    rules: &QualityThresholds,
    decisions: &Decisions,
    staying: &Staying,
) -> Result<Renewed> {
    let mut renewed = Renewed { licences: license(store, inputs, decisions), ..Renewed::default() };
    let mut is_marked = false;
    for slide in store.slides_mut() {
        let excluded = is_left_out(slide, rules, decisions);
        if excluded && !slide.excluded && staying.test.contains(&slide.slide_id) {
            renewed.held += 1;
            continue;
        }
        let is_decided = decisions.used(&slide.slide_id) == Some(false);
        is_marked |= is_decided != slide.quality.contains_key(DECIDED);
        if is_decided {
            slide.quality.insert(DECIDED.to_owned(), 1.0);
        } else {
            slide.quality.remove(DECIDED);
        }
        // Slides that this run added are no change.
        let is_known = !slide.group.is_empty();
        renewed.excluded += usize::from(excluded && !slide.excluded && is_known);
        renewed.included += usize::from(!excluded && slide.excluded && is_known);
        is_marked |= excluded != slide.excluded;
        slide.excluded = excluded;
    }
    if promote(store.slides_mut(), staying) > 0 || renewed.licences > 0 || is_marked {
        store.rewrite_manifest()?;
    }
    Ok(renewed)
}

fn is_left_out(slide: &SlideRecord, rules: &QualityThresholds, decisions: &Decisions) -> bool {
    let by_rule = rules.excludes(&slide.quality) || slide.quality.contains_key(REPLACED);
    decisions.used(&slide.slide_id).map_or(by_rule, |used| !used)
}

/// The rules that the slides were measured with.
fn rules_of(store: &Store) -> PathBuf {
    store.raw().join(".rules")
}

/// The flags of each slide by the pixels, where the rules have changed; none where they have not, or on an interruption.
fn measured(
    store: &Store,
    rules: &QualityThresholds,
    progress: &dyn Progress,
) -> Result<Option<HashMap<usize, BTreeMap<String, f64>>>> {
    let known = std::fs::read(rules_of(store)).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<QualityThresholds>(&bytes).ok());
    let thresholds = |rules: &QualityThresholds| QualityThresholds { exclude: Vec::new(), ..rules.clone() };
    if known.is_some_and(|known| thresholds(&known) == thresholds(rules)) {
        return Ok(None);
    }
    let slides = store.slides();
    if slides.is_empty() {
        write_json(&rules_of(store), rules)?;
        return Ok(None);
    }
    progress.measuring(slides.len());
    let (next, (sender, found)) = (AtomicUsize::new(0), channel());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let measure = |slide: &SlideRecord| {
        let bytes = std::fs::read(Manifest::image_path(store.raw(), &slide.slide_id)).ok()?;
        let limits = Limits { max_edge: u32::MAX, ..Limits::default() };
        Some(quality_flags(&decode(&bytes, &limits).ok()?, rules))
    };
    let flags: HashMap<usize, BTreeMap<String, f64>> = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, measure) = (sender.clone(), &next, &measure);
            scope.spawn(move || {
                while !progress.is_interrupted() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slide) = slides.get(at) else { break };
                    // An image that cannot be read is `verify`'s to report.
                    let _ = sender.send((at, measure(slide).unwrap_or_else(|| slide.quality.clone())));
                    progress.slide(slide);
                }
            });
        }
        drop(sender);
        found.into_iter().collect()
    });
    Ok((flags.len() == slides.len()).then_some(flags))
}

/// Gives slides the licence that a person decided, or that is stated now for the file they came from; returns how many changed. A
/// licence that is not stated any more stays.
fn license(store: &mut Store, inputs: &[InputFile], decisions: &Decisions) -> usize {
    let mut origins: HashMap<&str, usize> = HashMap::new();
    for input in store.inputs() {
        *origins.entry(&input.origin).or_default() += 1;
    }
    // The parts of an archive do not name its hash: they are told by its origin, where only one file has it.
    let is_alone = |input: &InputFile| origins.get(input.origin.as_str()).is_none_or(|count| *count == 1);
    let stated = |input: &InputFile| {
        let (license, known) = (input.license.clone()?, store.known(input)?);
        Some((known.origin.clone(), (known.sha256.clone(), is_alone(input), license)))
    };
    let mut licences: HashMap<String, Vec<(String, bool, String)>> = HashMap::new();
    for (origin, row) in inputs.iter().filter_map(stated) {
        licences.entry(origin).or_default().push(row);
    }
    let mut changed = 0;
    for slide in store.slides_mut() {
        let file = slide.source.origin.split('!').next().unwrap_or_default();
        let rows = licences.get(&slide.source.origin).or_else(|| licences.get(file));
        let is_part = slide.source.origin.contains('!');
        let own = |row: &&(String, bool, String)| row.0 == slide.source.sha256 || is_part && row.1;
        let stated = rows.and_then(|rows| rows.iter().find(own)).map(|(_, _, license)| license.as_str());
        let license = decisions.license(&slide.slide_id).or(stated);
        if license.is_some() && slide.source.license.as_deref() != license {
            slide.source.license = license.map(str::to_owned);
            changed += 1;
        }
    }
    changed
}

/// Where slides are used that repeat one which is not, because the rules changed, one of them takes its place: a rated one, else the
/// largest. What a person left out is left out with its repeats. Returns how many did.
pub(super) fn promote(slides: &mut [SlideRecord], staying: &Staying) -> usize {
    let by_rule = slides.iter().filter(|slide| slide.excluded && !slide.quality.contains_key(DECIDED));
    let left_out: HashSet<String> = by_rule.map(|slide| slide.slide_id.clone()).collect();
    let mut heirs: BTreeMap<String, usize> = BTreeMap::new();
    let worth = |slide: &SlideRecord| {
        (staying.holds(&slide.slide_id), u64::from(slide.width) * u64::from(slide.height))
    };
    for (at, slide) in slides.iter().enumerate().filter(|(_, slide)| !slide.excluded) {
        let Some(original) = slide.duplicate_of.as_ref().filter(|original| left_out.contains(*original))
        else {
            continue;
        };
        let heir = heirs.entry(original.clone()).or_insert(at);
        if worth(slide) > worth(&slides[*heir]) {
            *heir = at;
        }
    }
    let names: BTreeMap<String, String> =
        heirs.iter().map(|(original, &at)| (original.clone(), slides[at].slide_id.clone())).collect();
    for slide in slides.iter_mut() {
        if let Some(heir) = slide.duplicate_of.as_ref().and_then(|original| names.get(original)) {
            slide.duplicate_of = (*heir != slide.slide_id).then(|| heir.clone());
        } else if let Some(heir) = names.get(&slide.slide_id) {
            slide.duplicate_of = Some(heir.clone());
        }
    }
    heirs.len()
}

/// Leaves out the slides of a file that its new version does not have, and takes those in again that it has again. What the new version
/// repeats stays in use with its ratings; a slide of the frozen test set stays, and is counted as held. Slides that were not compared
/// yet are left to the next run.
pub(super) fn replace(
    store: &mut Store,
    rules: &QualityThresholds,
    decisions: &Decisions,
    staying: &Staying,
) -> Result<Renewed> {
    if store.slides().iter().any(|slide| slide.group.is_empty()) {
        return Ok(Renewed::default());
    }
    let current: HashSet<String> = store.inputs().map(|input| input.sha256.clone()).collect();
    let is_version = |input: &&InputRecord| {
        !input.earlier.is_empty() && matches!(input.outcome, Outcome::Collected { .. })
    };
    let versions: Vec<InputRecord> = store.inputs().filter(is_version).cloned().collect();
    let slides = store.slides_mut();
    let mut renewed = Renewed::default();
    for slide in slides.iter_mut().filter(|slide| current.contains(&slide.source.sha256)) {
        if slide.quality.remove(REPLACED).is_some() {
            slide.excluded = is_left_out(slide, rules, decisions);
            renewed.included += usize::from(!slide.excluded);
        }
    }
    for version in &versions {
        // Elsewhere a copy of an old version may still lie.
        let gone: HashSet<&String> = version.earlier.iter().filter(|hash| !current.contains(*hash)).collect();
        for at in leave_out(slides, &gone, &version.sha256, decisions, staying, &mut renewed) {
            take_number(slides, at, &version.sha256);
        }
    }
    if renewed.is_any() {
        promote(store.slides_mut(), staying);
        store.rewrite_manifest()?;
    }
    Ok(renewed)
}

/// Leaves out the slides of files with the hashes `gone` but for those that slides of the file `now` repeat; returns which.
fn leave_out(
    slides: &mut [SlideRecord],
    gone: &HashSet<&String>,
    now: &str,
    decisions: &Decisions,
    staying: &Staying,
    renewed: &mut Renewed,
) -> Vec<usize> {
    let new = slides.iter().filter(|slide| slide.source.sha256 == now);
    let again: HashSet<String> = new.filter_map(|slide| slide.duplicate_of.clone()).collect();
    let mut left_out = Vec::new();
    for (at, slide) in slides.iter_mut().enumerate() {
        let is_old = gone.contains(&slide.source.sha256) && slide.duplicate_of.is_none();
        if !is_old || again.contains(&slide.slide_id) || slide.quality.contains_key(REPLACED) {
            continue;
        }
        if staying.test.contains(&slide.slide_id) {
            renewed.held += 1;
            continue;
        }
        let excluded = decisions.used(&slide.slide_id) != Some(true);
        renewed.replaced += usize::from(excluded && !slide.excluded);
        slide.quality.insert(REPLACED.to_owned(), 1.0);
        slide.excluded = excluded;
        left_out.push(at);
    }
    left_out
}

/// Makes slides one, or two, as people decided; returns how many changed.
pub(super) fn pair(store: &mut Store, decisions: &Decisions, staying: &Staying) -> Result<usize> {
    let slides = store.slides_mut();
    let mut changed = 0;
    for slide in slides.iter_mut() {
        let is_other = |original: &mut String| decisions.are_different(&slide.slide_id, original);
        changed += usize::from(slide.duplicate_of.take_if(is_other).is_some());
    }
    let places: HashMap<String, usize> =
        slides.iter().enumerate().map(|(at, slide)| (slide.slide_id.clone(), at)).collect();
    for (a, b) in decisions.same() {
        let original = |id: &str| {
            let at = *places.get(id)?;
            let original = slides[at].duplicate_of.as_ref().and_then(|original| places.get(original));
            Some(original.copied().unwrap_or(at))
        };
        let (Some(a), Some(b)) = (original(a), original(b)) else { continue };
        if a == b {
            continue;
        }
        // The rated one stays, then the one that is used, then the earlier one.
        let worth = |at: usize| {
            let slide = &slides[at];
            (staying.holds(&slide.slide_id), !slide.excluded, std::cmp::Reverse(at))
        };
        let (goes, stays) = if worth(a) < worth(b) { (a, b) } else { (b, a) };
        repeat(slides, goes, stays);
        changed += 1;
    }
    if changed > 0 {
        store.rewrite_manifest()?;
    }
    Ok(changed)
}

/// An image takes the place in its deck of the one that it replaces.
fn take_number(slides: &mut [SlideRecord], old: usize, now: &str) {
    let is_heir = |slide: &SlideRecord| slide.source.page.is_none() && slide.source.sha256 == now;
    let Some(new) = slides.iter().position(|slide| is_heir(slide) && slide.deck_id == slides[old].deck_id)
    else {
        return;
    };
    if slides[old].source.page.is_none() && slides[new].source.origin == slides[old].source.origin {
        (slides[old].number, slides[new].number) = (slides[new].number, slides[old].number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slide(deck: &str, original: Option<&str>, excluded: bool, width: u32) -> SlideRecord {
        let duplicate_of = original.map(str::to_owned);
        SlideRecord { width, duplicate_of, excluded, ..SlideRecord::sample(deck, 1) }
    }

    #[test]
    fn the_largest_repeat_of_a_slide_that_is_left_out_takes_its_place_unless_another_was_rated() {
        let slides = [
            slide("a", None, true, 9),
            slide("b", Some("a-1"), false, 2),
            slide("c", Some("a-1"), false, 3),
            slide("d", Some("a-1"), true, 4),
            slide("e", None, false, 1),
            slide("f", Some("e-1"), false, 8),
        ];
        for (rated, heir) in [(None, "c-1"), (Some("b-1"), "b-1")] {
            let mut slides = slides.clone();
            let rated = rated.into_iter().map(str::to_owned).collect();
            let staying = Staying { rated, ..Staying::default() };
            assert_eq!(promote(&mut slides, &staying), 1);
            let originals: Vec<_> = slides.iter().map(|slide| slide.duplicate_of.as_deref()).collect();
            let of = |slide: &str| (slide != heir).then_some(heir);
            assert_eq!(originals, [Some(heir), of("b-1"), of("c-1"), Some(heir), None, Some("e-1")]);
            assert_eq!(promote(&mut slides, &staying), 0, "a second time nothing changes");
        }
    }
}
