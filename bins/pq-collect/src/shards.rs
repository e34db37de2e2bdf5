//! Collecting in shards, and taking them together.

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict, WithHint as _};
use slide_data::collect::source::SourceBatch;
use slide_data::collect::{ShardOfInputs, Shards, Store};

use crate::args::Args;
use crate::collect::{bring_in, inputs_of, with_collector};
use crate::{Project, forget, open, print};

const APART: &str = "bring in what comes from the web with one process first; shards read files and folders";

/// The files that all shards share; none of them comes from the web, which each shard would ask anew.
fn files(args: &Args, project: &Project, named: &[String]) -> Result<SourceBatch> {
    let is_address = |input: &String| input.starts_with("http://") || input.starts_with("https://");
    let sources = &project.config.sources;
    let asks_web = named.is_empty() && (sources.urls.enabled || sources.web.enabled);
    if asks_web || named.iter().any(is_address) {
        bail!(Hint::new("shards do not ask the web", APART));
    }
    inputs_of(args, project, named)
}

/// Reads the files of this process's shard.
pub(crate) fn collect(args: &Args, project: &Project) -> Result<Verdict> {
    if args.again {
        bail!(Hint::new("--again takes files in one process", "leave out --shard"));
    }
    let shard = args.shard.find().hint("it is not known which shard this is", "name it: --shard 2/8")?;
    forget::refuse_unfinished(&project.layout)?;
    project.layout.create_folders()?;
    let batch = files(args, project, &args.inputs)?;
    let slides = project.layout.slides();
    let mut store = Store::open_shard(slides.root(), shard.index(), shard.count()).hint(
        format!("cannot use the folder of shard {shard} below `{}`", slides.root().display()),
        "check that the folder can be written and that no other run is working on this shard",
    )?;
    let inputs = ShardOfInputs { all: &batch.inputs, shard: shard.index(), shards: shard.count() };
    let report = with_collector(&mut store, args, project, |collector, reader, progress| {
        collector.read_shard(inputs, reader, progress)
    })?;
    let slides = store.slides().len();
    if args.common.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let (own, all) = (inputs.own().len(), batch.inputs.len());
        print(&format!(
            "shard {shard}: {own} of {all} files, {slides} slides; `pq-collect merge` takes the shards together\n"
        ))?;
    }
    Ok(if report.interrupted { Verdict::Stopped } else { Verdict::Pass })
}

/// Takes the shards together, where they are all there.
pub(crate) fn merge(args: &Args, project: &Project, named: &[String]) -> Result<Verdict> {
    project.layout.require_data()?;
    let mut store = open(&project.layout)?;
    let batch = files(args, project, named)?;
    let raw = store.raw().to_owned();
    let shards = Shards::of(&raw, &batch.inputs, &project.config).hint(
        "the shards cannot be taken together",
        "run every shard over the same files with the same configuration, and give the same files here",
    )?;
    if !shards.missing.is_empty() {
        tell_missing(args, &shards)?;
        return Ok(Verdict::Fail);
    }
    let mut new = 0;
    with_collector(&mut store, args, project, |collector, _, _| {
        new = collector.take_in(&shards)?;
        Ok(slide_data::collect::Report::default())
    })?;
    tracing::info!("{new} slides of {} shards, each there once", shards.count);
    let verdict = bring_in(&mut store, args, project, batch)?;
    if verdict == Verdict::Pass {
        shards.remove(&raw)?;
    }
    Ok(verdict)
}

fn tell_missing(args: &Args, shards: &Shards) -> Result<()> {
    for reason in shards.missing.iter().filter_map(|(_, reason)| reason.as_ref()) {
        tracing::warn!("{reason}");
    }
    let (numbers, count): (Vec<usize>, usize) =
        (shards.missing.iter().map(|(shard, _)| *shard).collect(), shards.count);
    if args.common.json {
        return print(&format!("{}\n", serde_json::json!({"missing": numbers, "shards": count})));
    }
    let numbers = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    print(&format!(
        "shards are missing of {count}. Run again: {numbers} (Slurm: --array={numbers} and --shard /{count})\n"
    ))
}
