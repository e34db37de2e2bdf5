//! What a release was made from, and how.

use std::fmt::Write as _;

use project_files::{HumanCeiling, Manifest, RELEASED_FILES, TrainingSummary};
use toml::Value;

use super::Subject;
use super::text::{NOTHING, Style, count, duration, grouped, pairs, plain};

/// How it was trained, on what, from which data.
pub(super) fn section(subject: &Subject<'_>) -> String {
    [training(subject), machine(subject), data(subject)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn training(subject: &Subject<'_>) -> String {
    let steps = subject.record.training.as_ref().filter(|training| training.steps > 0);
    let (mut rows, training) = (settings(subject), subject.record.training.as_ref());
    rows.extend([
        ("epochs", steps.map(|training| format!("{:.2}", training.epochs))),
        ("optimizer steps", steps.map(|training| grouped(training.steps))),
        ("seed", subject.setting("training.seed").and_then(written)),
        ("trained weights", steps.map(weights)),
        ("mean training loss", steps.map(|training| format!("{:.4}", training.train_loss))),
        ("checkpoint kept", training.and_then(kept)),
        (
            "score head",
            subject.has_head().then(|| "`score_head.json`, beside the adapter or in its place".to_owned()),
        ),
        ("ended as", training.map(|training| plain(&training.status))),
    ]);
    format!("## How it was trained\n\n{}", pairs(["what", "value"], rows))
}

/// What was set before the training.
fn settings(subject: &Subject<'_>) -> Vec<(&'static str, Option<String>)> {
    let setting = |path: &str| subject.setting(path).and_then(written);
    let batch = || {
        let part = |path: &str| subject.setting(path)?.as_integer();
        let size = part("training.per_device_train_batch_size")?;
        let windows = part("training.gradient_accumulation_steps").unwrap_or(1);
        Some(format!("{} ({size} × {windows} accumulated)", size * windows))
    };
    vec![
        ("base", Some(base(subject))),
        ("rank r", setting("lora.r")),
        ("alpha", setting("lora.lora_alpha")),
        ("dropout", setting("lora.lora_dropout")),
        ("adapted modules", setting("lora.target_modules")),
        ("variant", variant(subject)),
        ("learning rate", setting("training.learning_rate")),
        ("schedule", setting("training.lr_scheduler_type")),
        ("warm-up, share of steps", setting("training.warmup_ratio")),
        ("weight decay", setting("training.weight_decay")),
        ("batch, in slides", batch()),
    ]
}

fn weights(training: &TrainingSummary) -> String {
    format!(
        "{} beside {} frozen ones",
        grouped(training.trainable_parameters),
        grouped(training.base_parameters)
    )
}

/// Which checkpoint is the release, and by what.
fn kept(training: &TrainingSummary) -> Option<String> {
    let best = training.best.as_ref()?;
    let (metric, value) = (plain(best.metric.trim_start_matches("eval_")), best.value);
    Some(format!("that of step {}, with {metric} {value:.3} on the validation slides", best.step))
}

fn base(subject: &Subject<'_>) -> String {
    let (base, record) = (subject.base, subject.record);
    let name = match (&base.revision, base.is_hub_id) {
        (Some(commit), true) => format!("`{}` at commit `{commit}`", base.name),
        (None, true) => format!("`{}`", base.name),
        (_, false) => format!("a checkpoint in a folder called `{}`, which is not published", base.name),
    };
    match record.inputs.get("base_model") {
        Some(fingerprint) => format!("{name}; its weights are `{}`", plain_code(fingerprint)),
        None => name,
    }
}

fn variant(subject: &Subject<'_>) -> Option<String> {
    let is_set = |path: &str| subject.setting(path).and_then(Value::as_bool).unwrap_or_default();
    let names = [("lora.use_dora", "DoRA"), ("lora.use_rslora", "rank-stabilised scaling")];
    let set: Vec<&str> = names.into_iter().filter(|(path, _)| is_set(path)).map(|(_, name)| name).collect();
    (!set.is_empty()).then(|| set.join(", "))
}

fn machine(subject: &Subject<'_>) -> String {
    let record = subject.record;
    let hardware = &record.hardware;
    let known = |text: &String| (!text.is_empty()).then(|| plain(text));
    let time = record.training.as_ref().map(|training| {
        format!("{}, and {} of evaluation", duration(training.train_seconds), duration(training.eval_seconds))
    });
    let versions: Vec<String> =
        record.versions.iter().map(|(name, version)| format!("{} {}", plain(name), plain(version))).collect();
    let rows = vec![
        ("device", known(&hardware.device)),
        ("cores", (hardware.cores > 0).then(|| hardware.cores.to_string())),
        ("system", known(&hardware.os).map(|os| format!("{os}, {}", plain(&hardware.architecture)))),
        ("training took", time),
        ("begun", Some(record.started_at.strftime("%Y-%m-%d %H:%M UTC").to_string())),
        ("programs", (!versions.is_empty()).then(|| versions.join(", "))),
    ];
    let body = pairs(["what", "value"], rows);
    if body.is_empty() { body } else { format!("### Time and machine\n\n{body}") }
}

fn data(subject: &Subject<'_>) -> String {
    let (data, results) = (&subject.record.data, subject.results);
    let rows = vec![
        ("labelled slides", Some(format!("{} of {}", grouped(data.slides), count(data.decks, "deck")))),
        (
            "training, validation, test",
            Some(format!("{}, {}, {} slides", data.train_slides, data.val_slides, data.test_slides)),
        ),
        ("raters", Some(raters(subject))),
        ("one person and the others", results.human_ceiling.as_ref().and_then(agreement)),
    ];
    let mut text = format!("### Data\n\n{}", pairs(["what", "value"], rows));
    if subject.manifest.files.contains_key("DATA_CARD.md") {
        text.push_str("\nMore about the data: [DATA_CARD.md](DATA_CARD.md).\n");
    }
    text
}

/// How many people's ratings it learned from.
fn raters(subject: &Subject<'_>) -> String {
    let of_a_slide = subject.record.data.raters_per_slide_at_most;
    match subject.facts.data.as_ref().and_then(|data| data.raters) {
        Some(1) => "one person".to_owned(),
        Some(people) => format!("{people} people, at most {of_a_slide} a slide"),
        None => format!("at most {of_a_slide} a slide; how many in all is not known"),
    }
}

/// How far one person is from what the others say, where that was measured.
fn agreement(ceiling: &HumanCeiling) -> Option<String> {
    let own = |measure: &str, style: Style| {
        let name = format!("overall_{measure}");
        style.estimate(ceiling.person.get(&name).copied(), ceiling.person_intervals.get(&name).copied())
    };
    let (mae, within) = (own("mae", Style::Number), own("within_1", Style::Share));
    (mae != NOTHING).then(|| {
        format!(
            "{mae} points apart on average, {within} within one point, over {}",
            count(ceiling.ratings, "rating")
        )
    })
}

/// The files of the release and what it was made from, by their hashes.
pub(super) fn files(subject: &Subject<'_>) -> String {
    let manifest = subject.manifest;
    let mut text = format!("## Files, and what they were made from\n\n{}", public_files(manifest));
    let inputs = inputs(manifest);
    if !inputs.is_empty() {
        let _ = write!(text, "\nMade from (SHA-256, or fingerprints of weights and processor):\n\n{inputs}");
    }
    let _ = write!(
        text,
        "\n[{0}]({0}) is the plan of this release and names every file by its hash.",
        Manifest::FILE
    );
    if let Some(key) = &manifest.signed_by {
        text.push_str(&signature(key));
    }
    text + "\n"
}

/// The files that the Hub has, as a table.
fn public_files(manifest: &Manifest) -> String {
    let is_public = |name: &str| !RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
    let mut text = String::from("| file | bytes | SHA-256 |\n| --- | ---: | --- |\n");
    for (name, hash) in manifest.files.iter().filter(|(name, _)| is_public(name)) {
        let _ = writeln!(text, "| [{name}]({name}) | {} | `{}` |", hash.size, hash.sha256);
    }
    text
}

/// What the version was made from, as a table.
fn inputs(manifest: &Manifest) -> String {
    let inputs: Vec<(&str, Option<String>)> = manifest
        .lineage
        .inputs
        .iter()
        .map(|(name, hash)| (name.as_str(), Some(format!("`{}`", plain_code(hash)))))
        .collect();
    pairs(["made from", "SHA-256 or fingerprint"], inputs)
}

fn signature(key: &str) -> String {
    format!(
        " [{0}]({0}) is its signature in the layout of OpenSSF model signing, by the key whose PEM text has the SHA-256 \
         `{key}`.",
        Manifest::SIGNATURE
    )
}

/// What stands between backticks.
fn plain_code(text: &str) -> String {
    text.replace(['`', '|', '\n'], "")
}

/// A setting as people write it; lists and texts as code, since they may hold patterns.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        // A bar ends a table's cell, also between backticks.
        Value::String(text) => Some(format!("`{}`", text.replace('`', "").replace('|', "\\|"))),
        Value::Array(parts) => Some(parts.iter().filter_map(written).collect::<Vec<_>>().join(", ")),
        Value::Table(_) => None,
        Value::Float(number) => Some(number.to_string()),
        other => Some(other.to_string()),
    }
}
