#![expect(clippy::format_push_string, reason = "a short text, put together line by line")]
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use pq_common::{Verdict, WithHint};
use slide_data::collect::{DataConfig, Store, dataset_card, export_image_folder, prove, verify};
use slide_data::{Error, GroupStats, Label, Labels, Manifest, Splits, read_json, write_atomic, write_json};

use crate::print;

pub(crate) fn show(store: &Store, slide_id: &str, json: bool) -> Result<Verdict> {
    let found = store.slides().iter().find(|slide| slide.slide_id == slide_id);
    let slide = found.ok_or_else(|| Error::NoSuchSlide(slide_id.to_owned())).hint(
        "nothing to show",
        "ids are the file names in data/raw/slides, without `.png`, and the `slide_id` of manifest.jsonl",
    )?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(slide)?))?;
        return Ok(Verdict::Pass);
    }
    let page = slide.source.page.map(|page| format!(", page {page}")).unwrap_or_default();
    let flags: Vec<String> =
        slide.quality.iter().map(|(flag, value)| format!("{flag} ({value:.3})")).collect();
    let rows = [
        ("slide", slide.slide_id.clone()),
        ("picture", Manifest::image_path(store.raw(), &slide.slide_id).display().to_string()),
        ("deck", format!("{}, slide {}", slide.deck_id, slide.number)),
        ("source", format!("{:?} {}{page}", slide.source.kind, slide.source.origin)),
        ("file sha256", slide.source.sha256.clone()),
        ("licence", slide.source.license.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("pixels", format!("{} × {}, sha256 {}", slide.width, slide.height, slide.sha256)),
        ("group", slide.group.clone()),
        ("repeats", slide.duplicate_of.clone().unwrap_or_else(|| "no other slide".to_owned())),
        ("flags", if flags.is_empty() { "none".to_owned() } else { flags.join(", ") }),
        ("used", if slide.excluded || slide.duplicate_of.is_some() { "no" } else { "yes" }.to_owned()),
        ("collected", format!("{} by {}", slide.collected_at, slide.tool_version)),
    ];
    let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    print(&(lines.join("\n") + "\n"))?;
    Ok(Verdict::Pass)
}

pub(crate) fn check(store: &Store, json: bool) -> Result<Verdict> {
    let findings = verify(store);
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
    } else if findings.is_empty() {
        print(&format!("{} slides: pictures, records and groups are whole\n", store.slides().len()))?;
    } else {
        let lines: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.subject, f.problem)).collect();
        print(&(lines.join("\n") + "\n"))?;
    }
    Ok(if findings.is_empty() { Verdict::Pass } else { Verdict::Fail })
}

pub(crate) fn splits(store: &Store, config: &DataConfig, json: bool) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let labels = labels(config)?;
    let path = config.storage.splits();
    let mut splits = read_splits(&path)?.unwrap_or_default();
    let mut groups: BTreeMap<String, GroupStats> = BTreeMap::new();
    for slide in manifest.usable() {
        let stats = groups.entry(slide.group.clone()).or_default();
        stats.slides += 1;
        count_scores(stats, labels.as_ref().and_then(|labels| labels.slides.get(&slide.slide_id)));
    }
    let before = splits.clone();
    splits
        .assign_balanced(&groups, config.splits.ratios(), config.splits.seed)
        .hint("the slides cannot be split", "collect more decks; decks that share a slide count as one")?;
    // Nothing is written that does not hold.
    let proof = prove(&manifest, store.raw(), &splits, config.splits.ratios(), &config.duplicates).hint(
        "the splits are refused",
        "the pair or deck named was divided by hand or by an older version; remove its group from splits.json to assign it anew",
    )?;
    if splits != before {
        write_json(&path, &splits)?;
    }
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&proof)?))?;
        return Ok(Verdict::Pass);
    }
    let mut text = String::new();
    for (split, count) in &proof.slides {
        let total: usize = proof.slides.values().sum();
        text += &format!(
            "{:<6} {count} slides ({:.1} %, wanted {:.0} %), {} groups\n",
            format!("{split:?}").to_lowercase(),
            100.0 * *count as f64 / total as f64,
            100.0 * proof.wanted.get(split).copied().unwrap_or(0.0),
            proof.groups.get(split).copied().unwrap_or(0)
        );
    }
    text += &format!(
        "proof: {} decks, each in one split; {} pairs of slides across splits compared, {} of them closely, none a near-duplicate\n",
        proof.decks, proof.pairs, proof.close_pairs
    );
    if let Some((a, b, difference)) = &proof.closest {
        let limit = config.duplicates.difference;
        text +=
            &format!("closest: {a} and {b} differ by {difference:.2} (near-duplicates by at most {limit})\n");
    }
    print(&text)?;
    Ok(Verdict::Pass)
}

fn count_scores(stats: &mut GroupStats, label: Option<&Label>) {
    let scores = label.into_iter().flat_map(|label| &label.scores);
    for (key, score) in scores.filter_map(|(key, score)| Some((key, (*score)?))) {
        stats.scores.entry(key.clone()).or_default()[score.index()] += 1;
    }
}

fn read_splits(path: &Path) -> Result<Option<Splits>> {
    if path.exists() { Ok(Some(read_json(path, "split file")?)) } else { Ok(None) }
}

fn labels(config: &DataConfig) -> Result<Option<Labels>> {
    let path = config.storage.labeled().join("labels.json");
    if path.exists() { Ok(Some(read_json(&path, "label file")?)) } else { Ok(None) }
}

pub(crate) fn card(store: &Store, config: &DataConfig, out: Option<&Path>) -> Result<Verdict> {
    let splits = read_splits(&config.storage.splits())?;
    let text = dataset_card(store, labels(config)?.as_ref(), splits.as_ref());
    match out {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Verdict::Pass)
}

pub(crate) fn export(store: &Store, config: &DataConfig, out: &Path, json: bool) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let splits = read_splits(&config.storage.splits())?;
    let summary =
        export_image_folder(&manifest, store.raw(), labels(config)?.as_ref(), splits.as_ref(), out)?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    } else {
        let parts: Vec<String> =
            summary.slides.iter().map(|(split, count)| format!("{split} {count}")).collect();
        print(&format!("{}: {}\n", out.display(), parts.join(", ")))?;
    }
    Ok(Verdict::Pass)
}

pub(crate) fn contact_sheet(store: &Store) -> Result<Verdict> {
    crate::collect::write_contact_sheet(store)?;
    print(&format!("{}\n", store.raw().join("contact_sheet.html").display()))?;
    Ok(Verdict::Pass)
}
