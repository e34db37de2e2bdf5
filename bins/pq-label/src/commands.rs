use std::io::Write;
use std::path::Path;

use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use serde_json::json;
use slide_data::{Defects, Labels, Manifest, write_atomic};
use slide_label::agreement::{AgreementOptions, agreement, human_ceiling, pair_agreement};
use slide_label::exchange::{self, Format};
use slide_label::{Error, Event, Journal, People, Role, Store, labels, rebuild};

use crate::print;
use crate::project::{Project, uncounted_lines};

/// Where an export goes and what is in it.
pub(crate) struct Export<'a> {
    pub(crate) format: Format,
    pub(crate) output: Option<&'a Path>,
    pub(crate) has_unrated: bool,
    pub(crate) image_url: Option<&'a str>,
}

/// Writes all ratings; for Label Studio into a folder, with the configuration of its page.
pub(crate) fn export(project: &Project, export: &Export<'_>) -> Result<Verdict> {
    let store = project.store()?;
    let text = match export.format {
        Format::LabelStudio => tasks(project, &store, export)?,
        format => exchange::write(&store, format, &derived(project, &store))?,
    };
    match export.output {
        Some(folder) if export.format == Format::LabelStudio && is_folder(folder) => {
            std::fs::create_dir_all(folder)?;
            write_atomic(&folder.join("tasks.json"), text.as_bytes())?;
            write_atomic(&folder.join("config.xml"), exchange::config_xml(&project.rubric).as_bytes())?;
        }
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(Verdict::Pass)
}

/// A name without an extension is a folder's.
fn is_folder(path: &Path) -> bool {
    path.is_dir() || (!path.is_file() && path.extension().is_none())
}

fn tasks(project: &Project, store: &Store, export: &Export<'_>) -> Result<String> {
    let image = |slide: &str| {
        let path = project.paths.image_path(slide);
        let name = path.rsplit('/').next().unwrap_or(&path);
        export.image_url.map_or_else(|| path.clone(), |url| format!("{url}{name}"))
    };
    let unrated = if export.has_unrated { project.manifest()? } else { Manifest::default() };
    let others: Vec<String> = unrated.usable().map(|slide| slide.slide_id.clone()).collect();
    Ok(exchange::label_studio_tasks(store, &others, &image)?)
}

fn derived(project: &Project, store: &Store) -> Labels {
    labels(store, project.config.consensus, &|slide| project.paths.image_path(slide))
}

/// Prints how people agree.
pub(crate) fn report(project: &Project, pairs: bool, resamples: usize, as_json: bool) -> Result<Verdict> {
    let store = project.store()?;
    let matrix = project.matrix(&store)?;
    let found = agreement(&matrix, AgreementOptions { resamples, seed: 0 });
    let ceilings = human_ceiling(&matrix);
    let pairs = if pairs { pair_agreement(&matrix, resamples, 0) } else { Vec::new() };
    let mut out = std::io::stdout().lock();
    if as_json {
        let all = json!({"agreement": found, "ceiling": ceilings, "pairs": pairs});
        writeln!(out, "{all:#}")?;
    } else {
        out.write_all(print::agreement(&found, &ceilings, &pairs).as_bytes())?;
    }
    Ok(Verdict::Pass)
}

/// What of the journal does not count.
fn print_uncounted(out: &mut impl Write, defects: &Defects, refused: &[(Event, Error)]) -> Result<()> {
    if defects.torn_bytes > 0 {
        let bytes = defects.torn_bytes;
        writeln!(out, "the last line is unfinished ({bytes} bytes); the next server sets it aside")?;
    }
    for broken in &defects.examples {
        writeln!(out, "line {} cannot be read and does not count: {}", broken.line, broken.reason)?;
    }
    for (event, error) in refused {
        writeln!(out, "event `{}` does not count: {error}", event.id)?;
    }
    Ok(())
}

/// Checks the journal and what is derived from it.
pub(crate) fn verify(project: &Project, as_json: bool) -> Result<Verdict> {
    let (events, defects) = Journal::read(&project.paths.journal())
        .hint("the journal is damaged", "restore it from a backup; lines before the one named are whole")?;
    let count = events.len();
    let (store, refused) = Store::from_events(project.rubric.clone(), events);
    let manifest = Manifest::read(project.paths.slides().root()).unwrap_or_default();
    let known: std::collections::HashSet<&str> =
        manifest.slides.iter().map(|slide| slide.slide_id.as_str()).collect();
    let unknown: Vec<&str> =
        store.rated_slides().map(|(slide, _)| slide).filter(|slide| !known.contains(slide)).collect();
    let on_disk = Labels::read_for(&project.paths.labels(), &project.rubric).ok();
    let expected = derived(project, &store);
    let labels_follow = on_disk.map_or(expected.slides.is_empty(), |labels| labels == expected);
    let mut out = std::io::stdout().lock();
    if as_json {
        let summary = json!({
            "events": count, "torn_bytes": Some(defects.torn_bytes).filter(|bytes| *bytes > 0),
            "broken_lines": defects.broken_lines, "refused": refused.len(),
            "unknown_slides": unknown, "uncounted": store.uncounted(), "labels_follow": labels_follow,
        });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "{count} events, {} slides rated", expected.slides.len())?;
        print_uncounted(&mut out, &defects, &refused)?;
        for line in uncounted_lines(&store.uncounted()) {
            writeln!(out, "{line}")?;
        }
        for slide in &unknown {
            writeln!(out, "slide `{slide}` is rated but not in the manifest")?;
        }
        if !labels_follow {
            writeln!(out, "labels.json is not what follows from the journal; run `pq-label rebuild`")?;
        }
    }
    let is_sound = refused.is_empty() && store.uncounted().is_empty() && defects.broken_lines == 0;
    Ok(if is_sound && labels_follow { Verdict::Pass } else { Verdict::Fail })
}

/// Derives `labels.json`.
pub(crate) fn rebuild_labels(project: &Project) -> Result<Verdict> {
    project.store()?; // says what of the journal does not count
    let labels = rebuild(&project.paths, &project.rubric, project.config.consensus)?;
    writeln!(
        std::io::stdout(),
        "{} labels written to `{}`",
        labels.slides.len(),
        project.paths.labels().display()
    )?;
    Ok(Verdict::Pass)
}

/// Prints an invitation link.
pub(crate) fn invite(
    project: &Project,
    name: &str,
    is_lead: bool,
    days: Option<u32>,
    url: &str,
) -> Result<Verdict> {
    let role = if is_lead { Role::Lead } else { Role::Annotator };
    let (_, token) = People::open(&project.paths.people())?.invite(name, role, days)?;
    writeln!(std::io::stdout(), "{}/join#{token}", url.trim_end_matches('/'))?;
    Ok(Verdict::Pass)
}
