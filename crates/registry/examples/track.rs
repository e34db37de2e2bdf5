//! Tracks a made-up training of 200 steps, to look at with a service, the service's own client, or TensorBoard:
//!
//! ```sh
//! cargo run -p registry --example track -- FOLDER            # offline, and event files
//! cargo run -p registry --example track -- FOLDER BASE KEY   # at a service
//! ```
//!
//! A second call carries on from step 150.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry::tracking::{Cell, Confusion, End, EventFiles, Picture, Sampler, Table, Tracker, host_name};
use registry::wandb::{RunInfo, WandbConfig, WandbMode, WandbOptions, WandbRun, config_yaml, spooled};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(args.first().ok_or("name a folder")?);
    let options = WandbOptions {
        base_url: args.get(1).cloned().unwrap_or_else(|| "https://api.wandb.ai".to_owned()),
        api_key: args.get(2).cloned(),
        folder: folder.join("wandb"),
        flush_interval: Duration::from_millis(500),
        finish_timeout: Duration::from_secs(30),
        http: http_client::Options::default(),
    };
    let mode = if options.api_key.is_some() { WandbMode::Online } else { WandbMode::Offline };
    let is_resumed = !spooled(&options.folder)?.is_empty();
    let completed_steps = if is_resumed { 150 } else { 0 };
    let tags = vec!["example".to_owned()];
    let config = WandbConfig { mode, tags, pictures: true, ..WandbConfig::default() };
    let info = RunInfo {
        run: "example".to_owned(),
        config: BTreeMap::from([("learning_rate".to_owned(), 1e-4.into())]),
        host: host_name(),
        program: "track".to_owned(),
        completed_steps,
        charts: vec!["eval/confusion".to_owned()],
        ..RunInfo::default()
    };
    let run: Arc<dyn Tracker> = Arc::new(WandbRun::start(&config, &options, &info)?);
    let events: Arc<dyn Tracker> =
        Arc::new(EventFiles::start(&folder.join("tensorboard"), &host_name(), completed_steps)?);
    let trackers = vec![run, events];
    let sampler = Sampler::start(Duration::from_millis(200), trackers.clone());
    for step in completed_steps + 1..=200 {
        let loss = if step == 42 { f64::NAN } else { 1.0 / (step as f64).sqrt() };
        let values =
            BTreeMap::from([("train/loss".to_owned(), loss), ("train/epoch".to_owned(), step as f64 / 50.0)]);
        for tracker in &trackers {
            tracker.log(step, &values);
            tracker.console(&format!("step {step}: loss {loss:.3}"));
            if step.is_multiple_of(50) {
                evaluate(&**tracker, step);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(sampler);
    for tracker in &trackers {
        tracker.file("config.yaml", config_yaml(&info.config).as_bytes());
        tracker.file("notes/result.txt", b"done\n");
        let finished = tracker.finish(End { exit_code: 0, was_stopped: false }, &|| false);
        println!("{finished:?}");
    }
    Ok(())
}

/// A table of two slides, of which one has a picture, and a confusion matrix.
fn evaluate(tracker: &dyn Tracker, step: u64) {
    let picture = Picture::of_png(include_bytes!("slide.png")).map_or(Cell::Missing, Cell::Picture);
    let text = |text: &str| Cell::Text(text.to_owned());
    let table = Table {
        columns: ["picture", "slide", "people", "model"].map(str::to_owned).into(),
        rows: vec![
            vec![picture, text("d1-p01"), Cell::Number(4.0), Cell::Number(4.0 - 1.0 / step as f64)],
            vec![Cell::Missing, text("d1-p02"), Cell::Missing, Cell::Number(2.0)],
        ],
    };
    tracker.table(step, "eval/slides", &table);
    let mut confusion = Confusion::new((1..=5).map(|score| score.to_string()).collect());
    for (actual, predicted) in [(0, 0), (1, 2), (2, 2), (3, 3), (4, 3)] {
        confusion.count(actual, predicted);
    }
    tracker.confusion(step, "eval/confusion", &confusion);
}
