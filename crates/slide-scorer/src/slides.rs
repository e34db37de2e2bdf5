use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use pq_cli::{Hint, Layout, ProjectConfig, WithHint as _};
use slide_data::{
    Contract as _, Correction, GroupStats, Label, Labels, Manifest, Rubric, SlideRecord, Split, SplitConfig,
    SplitRatios, Splits, Target,
};
use vlm_lora::{Dataset, Sample};

use crate::{RatingPrompt, SlideImage};

/// A slide with what people say of it.
#[derive(Debug, Clone)]
pub struct LabelledSlide {
    /// The slide.
    pub record: SlideRecord,
    /// What people say of it, corrections included where it is trained on.
    pub label: Label,
    /// What the slide is used for.
    pub split: Split,
    /// The image.
    pub path: PathBuf,
}

impl LabelledSlide {
    /// Whether a criterion applies to it: without one it teaches no score, only what does not apply.
    pub fn has_score(&self) -> bool {
        self.label.scored().next().is_some()
    }

    /// Reads the image.
    ///
    /// # Errors
    /// When it is missing or broken.
    pub fn image(&self) -> Result<SlideImage> {
        let image = slide_data::image::open(&self.path).hint(
            format!("cannot read the slide `{}`", self.path.display()),
            "`pq-collect verify` checks the store; collecting again restores a slide",
        )?;
        let (slide_id, deck_id) = (self.record.slide_id.clone(), self.record.deck_id.clone());
        Ok(SlideImage { slide_id, deck_id, image: image.into_rgb8() })
    }
}

/// The labelled slides of a project.
#[derive(Debug, Clone)]
pub struct Store {
    layout: Layout,
    splits: SplitConfig,
    now: Timestamp,
}

/// What happens to groups of slides that have no split yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewGroups {
    /// Their slides are left out.
    LeaveOut,
    /// They get the split that [`Assign`](Self::Assign) would give them, and nothing is written.
    DryRun,
    /// They get a split, and `splits.json` is written.
    Assign,
}

impl Store {
    /// The slides of a project; its data folder must be there.
    ///
    /// # Errors
    /// When the data folder does not exist, or the split's settings do not fit.
    pub fn open(project: &ProjectConfig) -> Result<Self> {
        let layout = project.layout()?;
        layout.require_data().hint(
            "there is no data",
            "run the command in the project's folder, or mend `storage.data_dir` in data.toml",
        )?;
        Ok(Self { layout, splits: project.section("splits", SplitConfig::validate)?, now: Timestamp::now() })
    }

    /// The same as it was read at another time: what is dated later is ahead of it.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// When the project is read.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Where the project's files lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The files that a run depends on, by name.
    pub fn inputs(&self) -> BTreeMap<String, PathBuf> {
        let slides = self.layout.slides();
        let files =
            [slides.manifest(), self.layout.labels(), self.layout.splits(), self.layout.corrections()];
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.into_iter().filter(|path| path.exists()).map(|path| (name(&path), path)).collect()
    }

    /// The labelled slides with their splits. Those of a frozen test set have the labels that were frozen with it. `new` says what happens to groups that have none. Corrections change the labels of
    /// training slides, never those of the others. A slide that nobody rated is labelled by its corrections alone; the groups that
    /// only such slides are in are for training. To a training slide perhaps nothing applies ([`LabelledSlide::has_score`]); to every
    /// other slide something does.
    ///
    /// # Errors
    /// When a file is missing or invalid, there are too few decks to split, or the splits of earlier runs are gone.
    pub fn labelled(&self, rubric: &Rubric, new: NewGroups) -> Result<Vec<LabelledSlide>> {
        let files = self.layout.slides();
        let manifest =
            Manifest::read(files.root()).hint("there are no slides", "bring decks in with pq-collect")?;
        let mut labels = Labels::read_for(&self.layout.labels(), rubric).hint(
            format!("the labels in `{}` cannot be used", self.layout.labels().display()),
            "rate slides with pq-label, or `pq-label rebuild` makes the file from the journal",
        )?;
        let records: BTreeMap<&str, &SlideRecord> =
            manifest.usable().map(|record| (record.slide_id.as_str(), record)).collect();
        warn_of_missing(&labels, &manifest);
        self.hold_test_labels(&mut labels, rubric)?;
        let corrections = self.corrections(rubric)?;
        let known = |slide: &str| records.get(slide).copied();
        let labelled: Vec<(&SlideRecord, &Label)> =
            labels.slides.iter().filter_map(|(slide, label)| Some((known(slide)?, label))).collect();
        if labelled.is_empty() {
            bail!(Hint::new("no labelled slide is in the manifest", "rate some slides with pq-label"));
        }
        let unrated = corrections.keys().filter(|slide| !labels.slides.contains_key(*slide));
        let unrated: Vec<&SlideRecord> = unrated.filter_map(|slide| known(slide)).collect();
        let splits = self.splits(&labelled, &unrated, new)?;
        let none = Label::default();
        let mut all: Vec<(&SlideRecord, &Label)> =
            labelled.into_iter().chain(unrated.into_iter().map(|record| (record, &none))).collect();
        all.sort_by_key(|(record, _)| &record.slide_id);
        let mut slides = Vec::new();
        for (record, label) in all {
            let Some(split) = splits.of(record) else { continue };
            let mut label = label.clone();
            if split == Split::Train {
                label.correct(&record.slide_id, corrections.get(&record.slide_id).into_iter().flatten());
            }
            let path = files.image(&record.slide_id);
            let slide = LabelledSlide { record: record.clone(), label, split, path };
            if slide.has_score() || (split == Split::Train && !slide.label.scores.is_empty()) {
                slides.push(slide);
            }
        }
        Ok(slides)
    }

    /// The splits, in which the groups of slides that are only corrected are for training.
    fn splits(
        &self,
        labelled: &[(&SlideRecord, &Label)],
        unrated: &[&SlideRecord],
        new: NewGroups,
    ) -> Result<Splits> {
        let path = self.layout.splits();
        let mut splits = Splits::read_if_present(&path)?.unwrap_or_default();
        if new != NewGroups::LeaveOut {
            self.refuse_to_split_again()?;
            let mut groups: BTreeMap<String, GroupStats> = BTreeMap::new();
            for (record, label) in labelled {
                count(groups.entry(record.group.clone()).or_default(), label);
            }
            let SplitConfig { val, test, seed } = self.splits;
            let before = splits.clone();
            splits
                .assign_balanced(&groups, SplitRatios { val, test }, seed)
                .hint("the data cannot be split", "collect and rate slides of more decks")?;
            splits.train_on(unrated.iter().map(|record| record.group.as_str()));
            if splits != before && new == NewGroups::Assign {
                splits.write(&path)?;
            }
        }
        Ok(splits)
    }

    /// Users' corrections of the rubric's criteria by slide, each once; without those that are dated ahead, which would beat every later one.
    fn corrections(&self, rubric: &Rubric) -> Result<BTreeMap<String, Vec<Correction>>> {
        let all = Correction::read_shared_log_if_present(&self.layout.corrections())
            .context("the corrections cannot be used")?
            .entries;
        let by_id: BTreeMap<String, Correction> = all.into_iter().map(|c| (c.id.clone(), c)).collect();
        let (ahead, by_id): (Vec<Correction>, Vec<Correction>) =
            by_id.into_values().partition(|correction| correction.corrected_at > self.now);
        if let Some(Correction { id, corrected_at, .. }) = ahead.first() {
            tracing::warn!(
                "{} corrections are dated ahead of {:.0} and not learned from: a clock is wrong; the first is `{id}` of {corrected_at}",
                ahead.len(),
                self.now
            );
        }
        let mut of_slide: BTreeMap<String, Vec<Correction>> = BTreeMap::new();
        for mut correction in by_id {
            correction.scores.retain(|key, _| rubric.keys().any(|known| known == key));
            if !correction.scores.is_empty() {
                of_slide.entry(correction.slide_id.clone()).or_default().push(correction);
            }
        }
        Ok(of_slide)
    }
}

fn count(stats: &mut GroupStats, label: &Label) {
    stats.slides += 1;
    for (key, score) in label.scored() {
        stats.scores.entry(key.to_owned()).or_default()[score.index()] += 1;
    }
}

fn warn_of_missing(labels: &Labels, manifest: &Manifest) {
    let known: std::collections::BTreeSet<&str> =
        manifest.slides.iter().map(|record| record.slide_id.as_str()).collect();
    let missing: Vec<&str> =
        labels.slides.keys().map(String::as_str).filter(|slide| !known.contains(slide)).collect();
    if !missing.is_empty() {
        let first = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            "{} labels are of slides that the manifest does not have and are left out: {first} …",
            missing.len()
        );
    }
}

/// Labelled slides as training samples; images are decoded when asked for.
pub struct SlideSamples<'a> {
    rating_prompt: &'a RatingPrompt,
    slides: Vec<LabelledSlide>,
    score_token_weight: f64,
}

impl<'a> SlideSamples<'a> {
    /// The samples of these slides.
    pub fn new(rating_prompt: &'a RatingPrompt, slides: Vec<LabelledSlide>, score_token_weight: f64) -> Self {
        Self { rating_prompt, slides, score_token_weight }
    }

    /// The slides in the order of the samples.
    pub fn slides(&self) -> &[LabelledSlide] {
        &self.slides
    }
}

impl Dataset for SlideSamples<'_> {
    fn len(&self) -> usize {
        self.slides.len()
    }

    fn sample(&self, index: usize) -> vlm_lora::Result<Sample> {
        let slide = &self.slides[index];
        let image = open_image(&slide.path)?;
        let tiles = Arc::new(self.rating_prompt.processor().tiles(&image)?);
        self.rating_prompt.supervised(&tiles, &slide.label, self.score_token_weight)
    }

    /// Of all that a sample is made of: images, the words asked and answered, and the targets.
    fn fingerprint(&self) -> String {
        let rubric = self.rating_prompt.rubric();
        let keys: Vec<&str> = rubric.keys().collect();
        let names: Vec<&str> = rubric.criteria.iter().map(|criterion| criterion.name.as_str()).collect();
        let of = |slide: &LabelledSlide| {
            let targets: Vec<Target> = keys.iter().map(|key| slide.label.target(key)).collect();
            serde_json::json!([slide.record.sha256, targets])
        };
        let slides: Vec<serde_json::Value> = self.slides.iter().map(of).collect();
        let all = serde_json::json!([rubric.prompt, names, self.score_token_weight, slides]);
        slide_data::sha256_hex(all.to_string().as_bytes())
    }
}

fn open_image(path: &Path) -> vlm_lora::Result<slide_data::image::DynamicImage> {
    slide_data::image::open(path)
        .map_err(|error| vlm_lora::Error::Image { reason: format!("`{}`: {error}", path.display()) })
}
