//! The cards of a release: what a stranger needs to judge and to use it, from measured facts alone. What was not measured is
//! not said.

mod data;
mod front_matter;
mod limits;
mod lint;
mod measures;
mod provenance;
mod text;
mod usage;
mod verdict;

use std::path::Path;

use project_files::{Manifest, RunFiles, RunRecord, ValidationResults};

pub use data::{CriterionFacts, DataFacts, SplitFacts};
pub(crate) use front_matter::states_license;
pub use lint::{CardProblem, lint};

use crate::base::Base;
use crate::config::License;

/// What the cards state beyond the release itself. Everything is measured or given; nothing is made up.
#[derive(Debug, Clone, Default)]
pub struct CardFacts {
    /// The repository on the Hub, `owner/name`, where there is one.
    pub repo: Option<String>,
    /// The licence that the team gave; there is no default.
    pub license: Option<License>,
    /// What was counted in labels and slides, where they are still those that the run was made from.
    pub data: Option<DataFacts>,
}

/// What the cards are about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The release, without its cards.
    pub(crate) manifest: &'a Manifest,
    pub(crate) results: &'a ValidationResults,
    pub(crate) record: &'a RunRecord,
    /// The run's `config.toml`.
    pub(crate) settings: &'a toml::Table,
    pub(crate) base: &'a Base,
    pub(crate) facts: &'a CardFacts,
}

impl Subject<'_> {
    /// The criteria in the rubric's order, each with the name that people read; else those of the results.
    fn criteria(&self) -> Vec<(String, String)> {
        let listed = self.settings.get("rubric").and_then(|rubric| rubric.get("criteria")?.as_array());
        let named = listed.into_iter().flatten().filter_map(|criterion| {
            let part = |key: &str| criterion.get(key)?.as_str().map(str::to_owned);
            Some((part("key")?, part("name")?))
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            self.results.sizes.criteria.keys().map(|key| (key.clone(), key.clone())).collect()
        } else {
            named
        }
    }

    /// A criterion's name for its key; anything else stays.
    fn name_of(&self, key: &str) -> String {
        let named = self.criteria().into_iter().find(|(known, _)| known == key);
        named.map_or_else(|| key.to_owned(), |(_, name)| name)
    }

    /// A sentence of the validation, which begins with the key of the criterion that it is about.
    fn named(&self, sentence: &str) -> String {
        match sentence.split_once(':') {
            Some((key, rest)) => format!("{}:{rest}", self.name_of(key)),
            None => sentence.to_owned(),
        }
    }

    /// A setting of the run, as in `training.seed`.
    fn setting(&self, path: &str) -> Option<&toml::Value> {
        let (table, key) = path.split_once('.')?;
        self.settings.get(table)?.get(key)
    }

    /// The longest edge that images are scaled to, where it is not the base's own.
    fn longest_edge(&self) -> Option<i64> {
        self.setting("processor.longest_edge")?.as_integer().filter(|edge| *edge > 0)
    }

    fn has_head(&self) -> bool {
        let head = RunFiles::new("").score_head();
        self.manifest.files.keys().any(|name| Path::new(name) == head)
    }

    fn has_processor(&self) -> bool {
        self.manifest.files.contains_key("tokenizer.json")
    }
}

/// The model card of a release.
pub(crate) fn model_card(subject: &Subject<'_>) -> String {
    [
        front_matter::front_matter(subject),
        summary(subject),
        usage::section(subject),
        measures::section(subject),
        verdict::section(subject),
        provenance::section(subject),
        limits::section(subject),
        provenance::files(subject),
    ]
    .join("\n")
}

/// The data card of a release.
pub(crate) fn data_card(subject: &Subject<'_>) -> String {
    data::data_card(subject)
}

fn summary(subject: &Subject<'_>) -> String {
    let Subject { manifest, base, facts, .. } = subject;
    let criteria: Vec<String> =
        subject.criteria().into_iter().map(|(_, name)| text::plain(&name).to_lowercase()).collect();
    let license = match &facts.license {
        Some(license) => format!("Licence: {}.", license.title()),
        None => "No licence was given: nobody outside the team may use it.".to_owned(),
    };
    format!(
        "# Slide rater {version}\n\n\
         A LoRA adapter for `{base}` that rates a slide of a pitch deck from 1 (poor) to 5 (excellent) on {criteria}. For each \
         criterion it gives a probability of each score.\n\n\
         {license} Released {date} from run `{run}`.\n",
        version = manifest.version,
        base = base.name,
        criteria = text::list(&criteria),
        date = manifest.released_at.strftime("%Y-%m-%d"),
        run = manifest.run_id,
    )
}

#[cfg(test)]
mod tests;
