use std::collections::BTreeMap;
use std::fmt::Write as _;

use project_files::RELEASED_FILES;

use crate::Release;

/// What a model card states beyond the release itself. Everything is measured or given; nothing is made up.
#[derive(Debug, Clone, Default)]
pub struct CardFacts {
    /// The repository on the Hub, `owner/name`, where there is one.
    pub repo: Option<String>,
    /// Whether the base's name is a Hub id; a folder of somebody's disk is not put into public metadata.
    pub base_is_hub_id: bool,
    /// Numbers and words about the training run (steps, epochs, trainable weights, duration), in the order to be shown.
    pub training: Vec<(String, String)>,
    /// Numbers about the data (slides, decks, raters), in the order to be shown.
    pub data: Vec<(String, String)>,
    /// The gate's bounds and verdict in words.
    pub verdict: String,
}

/// The model card of a release: metadata for the Hub, what it is for, what was measured, what it was made from.
pub fn model_card(release: &Release, facts: &CardFacts) -> String {
    let mut card = front_matter(release, facts);
    let _ = write!(
        card,
        "# PitchQuest slide rater {}\n\n\
         A LoRA adapter for `{}` that rates pitch-deck slides from 1 (poor) to 5 (excellent) on the criteria of a team's rubric, \
         as that team's own people rate them.\n\n",
        release.version, release.lineage.base_model
    );
    section(&mut card, "Measured on the frozen test split", &metric_rows(&release.metrics));
    if !facts.verdict.is_empty() {
        let _ = writeln!(card, "{}\n", facts.verdict);
    }
    section(&mut card, "Training", &facts.training);
    section(&mut card, "Data", &facts.data);
    card.push_str(
        "## Use and limits\n\n\
         Meant to give a deck's author quick, rubric-based feedback and to order slides for human review. It repeats the taste and \
         the biases of the people who rated the training slides, has seen only slides like theirs, and must not decide about \
         people, funding or employment. Scores are distributions: look at their spread before relying on one.\n\n",
    );
    let inputs: Vec<(String, String)> =
        release.lineage.inputs.iter().map(|(name, sha256)| (name.clone(), format!("`{sha256}`"))).collect();
    section(&mut card, "Made from (SHA-256)", &inputs);
    let files: Vec<(String, String)> = release
        .files
        .iter()
        .filter(|(name, _)| RELEASED_FILES.iter().any(|file| file.name == *name && file.is_public))
        .map(|(name, hash)| (name.clone(), format!("`{}` ({} bytes)", hash.sha256, hash.size)))
        .collect();
    section(&mut card, "Files (SHA-256)", &files);
    let _ = writeln!(card, "Run `{}`, released {}.", release.run_id, release.released_at);
    card
}

fn front_matter(release: &Release, facts: &CardFacts) -> String {
    let mut text =
        String::from("---\nlibrary_name: peft\nlicense: apache-2.0\npipeline_tag: image-text-to-text\n");
    if facts.base_is_hub_id {
        let _ = writeln!(text, "base_model: {}", release.lineage.base_model);
    }
    text.push_str("tags:\n- lora\n- smolvlm\n- idefics3\n- pitch-deck\n- pitchquest\n");
    let _ = write!(
        text,
        "model-index:\n- name: {}\n  results:\n  - task:\n      type: image-text-to-text\n      name: slide rating\n    \
         dataset:\n      type: private\n      name: the team's rated slides (test split)\n    metrics:\n",
        facts.repo.as_deref().unwrap_or("pitchquest-slide-rater")
    );
    for (name, value) in
        release.metrics.iter().filter(|(name, value)| name.starts_with("overall_") && value.is_finite())
    {
        let _ = writeln!(text, "    - type: {name}\n      value: {value:.4}");
    }
    text.push_str("---\n\n");
    text
}

fn metric_rows(metrics: &BTreeMap<String, f64>) -> Vec<(String, String)> {
    metrics.iter().map(|(name, value)| (format!("`{name}`"), format!("{value:.3}"))).collect()
}

fn section(card: &mut String, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(card, "## {title}\n\n| | |\n| --- | --- |\n");
    for (name, value) in rows {
        let _ = writeln!(card, "| {} | {} |", cell(name), cell(value));
    }
    card.push('\n');
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
