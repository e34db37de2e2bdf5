//! The files that are named on the command line, rated one after another.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict, WithHint as _};
use slide_data::{Contract as _, Limits, Manifest, RenderedSlide, SlideRecord, render};

use crate::args::Args;
use crate::failures::FailureLog;
use crate::keep::Keeper;
use crate::model::Chosen;
use crate::session::{Session, tell_failed};

/// Rates what was named, prints and logs it, and writes the report. Nothing is loaded before a first slide was read.
pub(crate) fn score(args: &Args) -> Result<Verdict> {
    if args.parts.shard.is_named() {
        bail!(Hint::new(
            "--shard takes a part of a manifest",
            "name the folder that the shards share with --parts"
        ));
    }
    let chosen = Chosen::find(&args.common, &args.model)?;
    require_inputs(args)?;
    let log = (!args.model.no_log).then(|| chosen.layout.predictions());
    let failures = FailureLog::beside(log.as_deref(), &chosen.version);
    let mut slides = Inputs { limits: &chosen.limits, left: args.inputs.iter(), open: None }.peekable();
    let mut refused = Vec::new();
    while let Some((input, error)) = slides.next_if(|(_, slide)| slide.is_err()).and_then(failure) {
        refused.push((input, error));
    }
    if slides.peek().is_none() && !pq_cli::interrupted() {
        for (input, error) in &refused {
            tell_failed(args, input, error)?;
            failures.note_error(error);
        }
        bail!(Hint::new("no slide could be scored", "see the messages above"));
    }
    let scorer = chosen.load()?;
    let keeper = Keeper::new(&chosen.layout, chosen.kept.clone(), log.is_some());
    let mut session = Session {
        args,
        log,
        failures,
        keeper,
        scorer: &scorer,
        scored: Vec::new(),
        pages: Vec::new(),
        failed: Vec::new(),
    };
    for (input, error) in &refused {
        session.fail(input, error)?;
    }
    score_all(args, slides, &mut session)?;
    session.finish(&chosen)
}

/// Nothing is loaded where nothing is there to be scored.
fn require_inputs(args: &Args) -> Result<()> {
    if let Some(before) = &args.before {
        if !before.exists() {
            bail!(Hint::new(
                format!("there is no `{}`", before.display()),
                "name the older version of the deck"
            ));
        }
        if args.inputs.len() > 1 {
            bail!(Hint::new("--before compares one deck with its older version", "give one deck a call"));
        }
    }
    if args.inputs.iter().any(|input| input.exists()) {
        return Ok(());
    }
    let names: Vec<String> = args.inputs.iter().map(|input| format!("`{}`", input.display())).collect();
    bail!(Hint::new(format!("there is no {}", names.join(", ")), REMEDY))
}

const REMEDY: &str = "give images, PDF or presentation files, folders, or a manifest.jsonl";

/// Slides that are read one by one.
type Slides = Box<dyn Iterator<Item = Result<RenderedSlide>>>;

/// The slides of all inputs, one after another, each with its input; what cannot be read is an error among them.
struct Inputs<'a> {
    limits: &'a Limits,
    left: std::slice::Iter<'a, PathBuf>,
    open: Option<(&'a Path, Slides)>,
}

impl<'a> Iterator for Inputs<'a> {
    type Item = (&'a Path, Result<RenderedSlide>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if pq_cli::interrupted() {
                return None;
            }
            if let Some((input, slides)) = &mut self.open {
                match slides.next() {
                    Some(slide) => return Some((*input, slide)),
                    None => self.open = None,
                }
            }
            let input = self.left.next()?.as_path();
            match open(input, self.limits) {
                Ok(slides) => self.open = Some((input, slides)),
                Err(error) => return Some((input, Err(error))),
            }
        }
    }
}

fn failure((input, slide): (&Path, Result<RenderedSlide>)) -> Option<(&Path, anyhow::Error)> {
    slide.err().map(|error| (input, error))
}

/// Slides go through the model a few at a time, whatever files they are of.
fn score_all<'a>(
    args: &Args,
    slides: impl Iterator<Item = (&'a Path, Result<RenderedSlide>)>,
    session: &mut Session<'_>,
) -> Result<()> {
    let mut batch = Vec::new();
    for (input, slide) in slides {
        match slide {
            Ok(slide) => batch.push(slide),
            Err(error) => session.fail(input, &error)?,
        }
        if batch.len() >= args.batch.max(1) {
            session.score(std::mem::take(&mut batch))?;
        }
    }
    if pq_cli::interrupted() {
        return Ok(());
    }
    session.score(batch)
}

fn open(input: &Path, limits: &Limits) -> Result<Slides> {
    let unreadable = || format!("cannot read `{}`", input.display());
    if input.extension().is_some_and(|extension| extension == "jsonl") {
        return of_manifest(input).hint(unreadable(), REMEDY);
    }
    let slides = render::load(input, limits).hint(unreadable(), REMEDY)?;
    Ok(Box::new(slides.map(|slide| Ok(slide?))))
}

/// The slides of a manifest that are used, under their own names.
fn of_manifest(path: &Path) -> Result<Slides> {
    let raw = path.parent().unwrap_or(Path::new("")).to_owned();
    let manifest = Manifest { slides: SlideRecord::read_log(path)?.entries };
    let slides: Vec<SlideRecord> = manifest.usable().cloned().collect();
    Ok(Box::new(slides.into_iter().map(move |record| stored(&raw, record))))
}

pub(crate) fn stored(raw: &Path, record: SlideRecord) -> Result<RenderedSlide> {
    let path: PathBuf = Manifest::image_path(raw, &record.slide_id);
    let image = slide_data::image::open(&path).hint(
        format!("cannot read the slide `{}`", path.display()),
        "`pq-collect verify` checks the store; collecting again restores a slide",
    )?;
    let name = record.source.origin.rsplit('/').next().unwrap_or_default();
    Ok(RenderedSlide {
        deck: name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned(),
        slide_id: record.slide_id,
        deck_id: record.deck_id,
        number: record.number,
        image: image.into_rgb8(),
        text: None,
        source: record.source,
        lacks: render::Lacks::default(),
    })
}
