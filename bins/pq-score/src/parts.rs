//! Scoring a manifest in shards, and joining what they wrote.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use pq_cli::{CommonArgs, Hint, Layout, Shard, Verdict, WithHint as _};
use project_files::{Contract as _, hash_file};
use slide_data::image::RgbImage;
use slide_data::prediction_log::parts::{PartWriter, ScoringPlan, Survey};
use slide_data::{RenderedSlide, SlideRecord, image_features};
use slide_scorer::{SlideImage, SlideScorer};

use crate::args::{Args, MergeArgs};
use crate::failures::FailureLog;
use crate::ids::id_for_key;
use crate::model::Chosen;
use crate::offline::stored;
use crate::shared::{Shared, is_bucket};

const REMEDY: &str = "give the manifest.jsonl that pq-collect wrote, the same to every shard";

/// Scores this process's shard of a manifest and writes its part.
pub(crate) fn score_shard(args: &Args) -> Result<Verdict> {
    let (Some(folder), [manifest]) = (&args.parts.parts, args.inputs.as_slice()) else {
        bail!(Hint::new("--parts takes one manifest", REMEDY));
    };
    let shard =
        args.parts.shard.find().hint("it is not known which shard this is", "name it: --shard 2/8")?;
    let chosen = Chosen::find(&args.common, &args.model)?;
    let source = Source::open(manifest)?;
    let plan = plan_of(args, &chosen, &source.manifest, shard)?;
    let (shared, named) = (Shared::open(folder)?, folder);
    let folder = shared.local();
    let plan = enter(&shared, plan, args.parts.scored_at.is_some()).hint(
        format!("shard {shard} is not scored into `{}`", named.display()),
        "a folder of parts is for one manifest, one model and one number of shards",
    )?;
    shared.fetch(&of_shard(shard))?;
    let found = Survey::part_of(folder, shard.index())?;
    if let Some(part) = found.filter(|part| part.left_out.is_empty()) {
        tracing::info!("shard {shard} is there already: {}", part.path.display());
        return Ok(Verdict::Pass);
    }
    let mut work = Work {
        source: &source,
        plan: &plan,
        part: PartWriter::begin(folder, &plan, shard.index())?,
        left_out: 0,
    };
    let range = plan.range(shard.index());
    if !range.is_empty() {
        work.score(&chosen.load()?, &range)?;
    }
    work.finish(&shared, shard)
}

/// What the names of a shard's parts begin with.
fn of_shard(shard: Shard) -> String {
    format!("part-{:05}-of-", shard.index())
}

/// Writes the plan, or takes the one that is there.
fn enter(shared: &Shared, plan: ScoringPlan, is_timed: bool) -> Result<ScoringPlan> {
    const PLAN: &str = "plan.json";
    shared.fetch(PLAN)?;
    let entered = plan.clone().enter(shared.local(), is_timed)?;
    if shared.create(PLAN)? {
        return Ok(entered);
    }
    // Another shard was faster.
    std::fs::remove_file(shared.local().join(PLAN)).context("the plan cannot be replaced")?;
    shared.fetch(PLAN)?;
    Ok(plan.enter(shared.local(), is_timed)?)
}

/// A manifest with its images, of a folder or a bucket.
struct Source {
    /// Where the manifest is read.
    manifest: PathBuf,
    shared: Option<Shared>,
}

impl Source {
    fn open(named: &Path) -> Result<Self> {
        if !is_bucket(named) {
            return Ok(Self { manifest: named.to_owned(), shared: None });
        }
        let (folder, name) = named.parent().zip(named.file_name()).context("a manifest has a name")?;
        let shared = Shared::open(folder)?;
        shared.fetch(&name.to_string_lossy())?;
        let manifest = shared.local().join(name);
        if !manifest.exists() {
            bail!(Hint::new(format!("there is no `{}`", named.display()), REMEDY));
        }
        Ok(Self { manifest, shared: Some(shared) })
    }

    /// A slide with its image; the outer error is the bucket's, which another run may not have.
    fn slide(&self, record: &SlideRecord) -> Result<Result<RenderedSlide>> {
        let raw = self.manifest.parent().unwrap_or(Path::new(""));
        let Some(shared) = &self.shared else { return Ok(stored(raw, record.clone())) };
        shared.fetch_image(&record.slide_id)?;
        let slide = stored(raw, record.clone());
        // Thousands of them would fill the disk.
        let _ = std::fs::remove_file(slide_data::Manifest::image_path(raw, &record.slide_id));
        Ok(slide)
    }
}

/// What is to be scored by what.
fn plan_of(args: &Args, chosen: &Chosen, manifest: &Path, shard: Shard) -> Result<ScoringPlan> {
    let unreadable = || format!("cannot read `{}`", manifest.display());
    let sha256 = hash_file(manifest).hint(unreadable(), REMEDY)?.sha256;
    let mut slides = 0;
    let defects = SlideRecord::for_each(manifest, |record| slides += u64::from(record.is_usable()))
        .hint(unreadable(), REMEDY)?;
    if slides == 0 || !defects.is_empty() {
        let what = if slides == 0 { "has no slide to score" } else { "has lines that cannot be read" };
        bail!(Hint::new(format!("`{}` {what}", manifest.display()), REMEDY));
    }
    let rubric = &chosen.settings.rubric;
    Ok(ScoringPlan {
        schema_version: ScoringPlan::VERSION,
        manifest: sha256,
        slides,
        model_version: chosen.version.clone(),
        model: chosen.identity()?,
        batch: args.batch.max(1) as u64,
        shards: shard.count(),
        criteria: rubric.keys().map(str::to_owned).collect(),
        features: image_features(&RgbImage::new(1, 1)).into_keys().collect(),
        scored_at: args.parts.scored_at.unwrap_or_else(Timestamp::now),
    })
}

/// Hands out the slides of a range by so many, the last maybe fewer, as the manifest is read; no more are in memory.
fn in_batches(
    manifest: &Path,
    range: &Range<u64>,
    batch: usize,
    mut take: impl FnMut(&[SlideRecord]) -> Result<()>,
) -> Result<()> {
    let (mut records, mut place, mut result) = (Vec::with_capacity(batch), 0, Ok(()));
    SlideRecord::for_each_until(manifest, |record| {
        if !record.is_usable() {
            return ControlFlow::Continue(());
        }
        if range.contains(&place) {
            records.push(record);
        }
        place += 1;
        if records.len() == batch || place == range.end {
            result = take(&records);
            records.clear();
        }
        if result.is_err() || place >= range.end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    result
}

/// A shard that is being scored.
struct Work<'a> {
    source: &'a Source,
    plan: &'a ScoringPlan,
    part: PartWriter,
    left_out: usize,
}

impl Work<'_> {
    /// Slides go through the model in the same batches whatever the number of shards: sums of other batches differ in their last digits.
    fn score(&mut self, scorer: &SlideScorer, range: &Range<u64>) -> Result<()> {
        let key = self.plan.key();
        let batch = usize::try_from(self.plan.batch).unwrap_or(1);
        let mut place = usize::try_from(range.start).unwrap_or(usize::MAX);
        let source = self.source;
        in_batches(&source.manifest, range, batch, |records| {
            if pq_cli::interrupted() {
                bail!(Hint::new("interrupted; nothing of the shard is written", "run the shard again"));
            }
            self.score_batch(scorer, records, &key, place)?;
            place += records.len();
            Ok(())
        })
    }

    fn score_batch(
        &mut self,
        scorer: &SlideScorer,
        records: &[SlideRecord],
        key: &str,
        first: usize,
    ) -> Result<()> {
        let mut images = Vec::new();
        let mut failed = BTreeMap::new();
        for record in records {
            match self.source.slide(record)? {
                Ok(slide) => images.push(SlideImage {
                    slide_id: slide.slide_id,
                    deck_id: slide.deck_id,
                    image: slide.image,
                }),
                Err(error) => drop(failed.insert(&record.slide_id, format!("{error:#}"))),
            }
        }
        let rated = if images.is_empty() { Vec::new() } else { scorer.rate(&images)? };
        let mut rated = rated.into_iter();
        for (at, record) in records.iter().enumerate() {
            if let Some(reason) = failed.remove(&record.slide_id) {
                tracing::warn!("left out: {reason}");
                self.left_out += 1;
                self.part.leave_out(&record.slide_id, reason)?;
                continue;
            }
            let mut slide = rated.next().context("the model rated fewer slides than it was given")?;
            slide.id = Some(id_for_key(key, first + at, &slide.sha256));
            slide.scored_at = self.plan.scored_at;
            // How long it took is this machine's and this run's, and would differ each time.
            slide.latency_ms = 0.0;
            self.part.push(slide)?;
        }
        Ok(())
    }

    fn finish(self, shared: &Shared, shard: Shard) -> Result<Verdict> {
        let manifest = &self.source.manifest;
        if hash_file(manifest)?.sha256 != self.plan.manifest {
            let changed = format!("`{}` was changed while it was scored", manifest.display());
            bail!(Hint::new(changed, "score a manifest that stays as it is, into another folder"));
        }
        let left_out = self.left_out;
        let path = self.part.finish()?;
        tracing::info!("shard {shard} is scored: {}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !shared.create(&name)? {
            bail!(Hint::new(
                format!("`{name}` is there already with another content"),
                "remove it, then run the shard again"
            ));
        }
        remove_earlier(shared, shard, &path)?;
        if left_out > 0 {
            tracing::warn!("{left_out} slides could not be scored; running the shard again tries them again");
        }
        Ok(if left_out == 0 { Verdict::Pass } else { Verdict::Fail })
    }
}

/// Takes away what a run before this one wrote of the same shard, which left slides out or was cut short.
fn remove_earlier(shared: &Shared, shard: Shard, own: &Path) -> Result<()> {
    let (folder, of_shard) = (shared.local(), of_shard(shard));
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(&of_shard) && path.file_name() != own.file_name() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    shared.remove(&of_shard, own)
}

/// Joins the parts of all shards, where they are all there.
pub(crate) fn merge(common: &CommonArgs, args: &MergeArgs) -> Result<Verdict> {
    let shared = Shared::open(&args.parts)?;
    let folder = shared.local();
    shared.fetch("plan.json")?;
    shared.fetch("part-")?;
    let survey = Survey::of(folder).hint(
        format!("the parts in `{}` cannot be joined", args.parts.display()),
        "name the folder that the shards were given with --parts, and take away what does not belong there",
    )?;
    if !survey.missing.is_empty() {
        tell_missing(common, &survey)?;
        return Ok(Verdict::Fail);
    }
    let layout = common.configuration()?.layout()?.with_monitoring(args.monitoring.as_deref(), false)?;
    let output = args.output.clone().unwrap_or_else(|| {
        let beside = if is_bucket(&args.parts) { Path::new("") } else { folder };
        beside.join("scored.parquet")
    });
    let is_lines = output.extension().is_some_and(|end| end == "jsonl");
    let joined: PathBuf = if is_lines { folder.join("scored.parquet") } else { output.clone() };
    survey.join(&joined)?;
    if is_lines {
        Survey::write_lines(&joined, &output)?;
    }
    // First: what ends in between is repeated, and the lines have the same ids.
    if !args.no_log {
        note_left_out(&survey, &layout);
    }
    let is_logged = !args.no_log && survey.log(&joined, &layout)?;
    tell_joined(common, &survey, &output, is_logged)?;
    Ok(if survey.left_out().next().is_none() { Verdict::Pass } else { Verdict::Fail })
}

/// Notes the slides that no shard could score. Their ids are the same however often the parts are joined.
fn note_left_out(survey: &Survey, layout: &Layout) {
    let failures = FailureLog::beside(Some(&layout.predictions()), &survey.plan.model_version);
    let key = survey.plan.key();
    let slides =
        survey.left_out().map(|slide| (id_for_key(&key, 0, &slide.slide_id), slide.slide_id.as_str()));
    failures.note_slides(slides, survey.plan.scored_at);
}

fn tell_missing(common: &CommonArgs, survey: &Survey) -> Result<()> {
    let (missing, count) = (&survey.missing, survey.plan.shards);
    for reason in missing.iter().filter_map(|missing| missing.reason.as_ref()) {
        tracing::warn!("{reason}");
    }
    let numbers: Vec<String> = missing.iter().map(|missing| missing.shard.to_string()).collect();
    let mut out = std::io::stdout().lock();
    if common.json {
        let shards: Vec<usize> = missing.iter().map(|missing| missing.shard).collect();
        writeln!(out, "{}", serde_json::json!({"missing": shards, "shards": count}))?;
    } else {
        let numbers = numbers.join(",");
        writeln!(
            out,
            "{} of {count} shards are missing. Run again: {numbers} (Slurm: --array={numbers} and --shard /{count})",
            missing.len()
        )?;
    }
    Ok(())
}

fn tell_joined(common: &CommonArgs, survey: &Survey, output: &Path, is_logged: bool) -> Result<()> {
    let left_out: Vec<_> = survey.left_out().collect();
    let mut out = std::io::stdout().lock();
    if common.json {
        let told = serde_json::json!({
            "output": output.display().to_string(), "shards": survey.plan.shards, "scored": survey.scored(), "left_out": left_out,
            "logged": is_logged,
        });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    for slide in &left_out {
        tracing::warn!("`{}` was left out: {}", slide.slide_id, slide.reason);
    }
    let (shards, scored) = (survey.plan.shards, survey.scored());
    writeln!(out, "{scored} slides of {shards} shards, each there once: {}", output.display())?;
    Ok(())
}
