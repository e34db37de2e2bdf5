use anyhow::{Context, Result};
use pq_cli::{Verdict, WithHint};
use slide_data::collect::source::{Source, SourceBatch, Uploads, UrlList, Web};
use slide_data::collect::{Collector, Progress, Reader, ReaderFactory, Report, Store, Subprocess};
use slide_data::render::{InputFile, survey};

use crate::args::Args;
use crate::dataset::staying;
use crate::decide::decisions;
use crate::progress::Bar;
use crate::summary::describe;
use crate::{Project, open, print};

pub(crate) fn collect(args: &Args, project: &Project) -> Result<Verdict> {
    let mut store = open(&project.layout)?;
    project.layout.create_folders()?;
    if args.again {
        store.take_forgotten(&pq_cli::asked_by(None));
    }
    let batch = inputs_of(args, project, &args.inputs)?;
    if batch.inputs.is_empty() && args.inputs.is_empty() && store.slides().is_empty() {
        let uploads = project.layout.slides().uploads();
        std::fs::create_dir_all(&uploads)
            .with_context(|| format!("cannot create `{}`", uploads.display()))?;
        for item in &batch.passed_over {
            tracing::warn!("passed over `{}`: {}", item.origin, item.reason);
        }
        let nothing = anyhow::anyhow!("the upload folder holds no decks");
        return Err(nothing).hint(
            "there is nothing to collect",
            format!(
                "put PDF files or folders of images into `{}`, or name them: pq-collect PATH",
                uploads.display()
            ),
        );
    }
    bring_in(&mut store, args, project, batch)
}

/// What is named, else what the configuration says.
pub(crate) fn inputs_of(args: &Args, project: &Project, named: &[String]) -> Result<SourceBatch> {
    if named.is_empty() { configured(project) } else { self::named(args, project, named) }
}

/// Applies rules and decisions to what is in the store.
pub(crate) fn renew(store: &mut Store, args: &Args, project: &Project) -> Result<Verdict> {
    bring_in(store, args, project, SourceBatch::default())
}

pub(crate) fn bring_in(
    store: &mut Store,
    args: &Args,
    project: &Project,
    batch: SourceBatch,
) -> Result<Verdict> {
    with_collector(store, args, project, |collector, reader, progress| {
        collector.run(&batch.inputs, reader, progress)
    })
    .and_then(|report| finish(store, args, report, batch))
}

/// Does something with a collector of this project.
pub(crate) fn with_collector(
    store: &mut Store,
    args: &Args,
    project: &Project,
    act: impl FnOnce(&mut Collector<'_>, ReaderFactory<'_>, &dyn Progress) -> slide_data::Result<Report>,
) -> Result<Report> {
    store.collect_at(args.collected_at);
    let staying = staying(project).hint(
        "cannot tell which slides are rated or belong to the frozen test set",
        "mend the file, or restore it from a copy; nothing was changed",
    )?;
    let decisions = decisions(project).hint(
        "the decisions about slides cannot be read",
        "mend the file, or restore it from a copy; nothing was changed",
    )?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let reader = || -> Box<dyn Reader + Send> {
        Box::new(Subprocess::new(program.clone(), vec!["reader".to_owned()]))
    };
    let bar = Bar::new();
    let mut collector = Collector {
        store,
        config: &project.config,
        readers: args.jobs.unwrap_or(cores).max(1),
        // What was forgotten in part, of an archive, is set aside in its record.
        retry: args.retry || args.again,
        staying: &staying,
        decisions: &decisions,
    };
    let report = act(&mut collector, &reader, &bar);
    bar.finish();
    report.hint(
        "the store could not be written",
        "check free space and permissions, then run the same command again: it goes on where it stopped",
    )
}

fn finish(store: &Store, args: &Args, mut report: Report, batch: SourceBatch) -> Result<Verdict> {
    report.add_from_source(batch.set_aside, batch.passed_over);
    write_contact_sheet(store)?;
    if args.common.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&describe(&report, store.raw()))?;
    }
    // What is there is good, but a script must not take it for all.
    Ok(if report.interrupted { Verdict::Stopped } else { Verdict::Pass })
}

/// The upload folder and the enabled sources.
fn configured(project: &Project) -> Result<SourceBatch> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if project.config.sources.uploads.enabled {
        sources.push(Box::new(Uploads { folder: project.layout.slides().uploads() }));
    }
    if project.config.sources.urls.enabled {
        let list = UrlList::read(&project.config.sources.urls, &project.config.limits).hint(
            "cannot read the list of addresses",
            "name a text file in `[sources.urls] file`, one address a line",
        )?;
        sources.push(Box::new(list));
    }
    if project.config.sources.web.enabled {
        let (config, limits) = (project.config.sources.web.clone(), project.config.limits.clone());
        sources.push(Box::new(Web { config, limits, http: pq_cli::http_options() }));
    }
    let mut all = SourceBatch::default();
    for source in sources {
        let batch = source
            .batch(&project.layout.slides().downloads(), &pq_cli::interrupted)
            .with_context(|| format!("the source `{}` failed", source.name()))?;
        all.inputs.extend(batch.inputs);
        all.set_aside.extend(batch.set_aside);
        all.passed_over.extend(batch.passed_over);
    }
    Ok(all)
}

/// The paths and addresses of the command line.
fn named(args: &Args, project: &Project, inputs: &[String]) -> Result<SourceBatch> {
    let is_address = |input: &&String| input.starts_with("http://") || input.starts_with("https://");
    let urls: Vec<String> = inputs.iter().filter(is_address).cloned().collect();
    let mut batch = SourceBatch::default();
    if !urls.is_empty() {
        let pause_s = project.config.sources.urls.pause_s;
        let (license, limits) = (args.license.clone(), project.config.limits.clone());
        let list = UrlList { urls, license, pause_s, limits, http: pq_cli::http_options() };
        batch = list.batch(&project.layout.slides().downloads(), &pq_cli::interrupted)?;
    }
    let uploads = project.layout.slides().uploads();
    let paths: Vec<&String> = inputs.iter().filter(|input| !is_address(input)).collect();
    let mut found = survey(&paths, Some(&uploads))
        .hint("nothing was collected", "give existing files or folders, or addresses with http(s)://")?;
    let licensed = |input: InputFile| InputFile { license: args.license.clone().or(input.license), ..input };
    found.inputs = found.inputs.into_iter().map(licensed).collect();
    batch.add(found);
    Ok(batch)
}

pub(crate) fn write_contact_sheet(store: &Store) -> Result<()> {
    let path = store.raw().join("contact_sheet.html");
    let page = report_pages::render_contact_sheet(store.slides())?;
    if std::fs::read(&path).is_ok_and(|old| old == page.as_bytes()) {
        return Ok(());
    }
    slide_data::write_atomic(&path, page.as_bytes())?;
    Ok(())
}
