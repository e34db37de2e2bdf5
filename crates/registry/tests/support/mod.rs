//! Runs that can be released, a registry in a folder, and a Hub that can die at any request.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_client::{Options, Retry};
use project_files::{Contract as _, DataSummary, Hardware, Layout, RunFiles, RunRecord, Storage};
use registry::hub::Hub;
use registry::{
    BasePlaces, By, Candidate, CardFacts, HubPlace, License, Lineage, Outcome, Place, Registry, Result,
    ValidationResults, Writer, hash_file, validated,
};
use test_server::hub::{FakeHub, Fault, Repository, TOKEN};
use test_server::{Answer, Request};

pub const REPO: &str = "team/rater";

pub fn layout(dir: &Path) -> Layout {
    let storage = Storage { registry_dir: dir.join("registry"), ..Storage::default() };
    Layout::new(&storage, &dir.join("outputs"))
}

/// A validated run; what is not said otherwise is the same in all of them.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub name: &'a str,
    pub adapter: &'a [u8],
    pub config: &'a str,
    pub labels: &'a str,
    pub base: &'a str,
}

pub fn run<'a>(name: &'a str, adapter: &'a [u8]) -> Run<'a> {
    Run {
        name,
        adapter,
        config: "[rubric]\nx = 1\n[training]\nlr = 1\n",
        labels: "11",
        base: "sha256-tensors-v1:22",
    }
}

impl Run<'_> {
    pub fn write(&self, dir: &Path) -> RunFiles {
        let run = layout(dir).run(self.name);
        std::fs::create_dir_all(run.dir()).unwrap();
        let named =
            |names: &[(&str, &str)]| names.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let inputs: std::collections::BTreeMap<String, String> = named(&[
            ("base_model", self.base),
            ("base_processor", "sha256-processor-v1:33"),
            ("labels.json", self.labels),
            ("splits.json", "44"),
            ("manifest.jsonl", "55"),
        ]);
        for (path, content) in [
            (run.adapter_config(), &b"{}"[..]),
            (run.adapter_weights(), self.adapter),
            (run.config(), self.config.as_bytes()),
            (run.metrics(), b"{\"step\":1}\n"),
            (run.report(), b"<html>slides</html>"),
            (run.test_predictions(), b"{}\n"),
        ] {
            std::fs::write(path, content).unwrap();
        }
        let base = dir.join("base");
        std::fs::create_dir_all(&base).unwrap();
        for (name, content) in [("tokenizer.json", "{}"), ("processor_config.json", "{\"image_seq_len\":4}")]
        {
            std::fs::write(base.join(name), content).unwrap();
        }
        let record = RunRecord {
            schema_version: 3,
            run_id: self.name.to_owned(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            finished_at: None,
            base_model: base.to_string_lossy().into_owned(),
            base_is_hub_id: false,
            inputs: inputs.clone(),
            processor_files: [].into(),
            data: DataSummary::default(),
            corrections: [].into(),
            test_set: None,
            untaught: [].into(),
            started_from: None,
            outlook: None,
            training: None,
            versions: [].into(),
            code: None,
            seed: None,
            hardware: Hardware::default(),
        };
        record.write(&run.record()).unwrap();
        let mut results = ValidationResults { inputs, ..ValidationResults::sample() };
        for path in ValidationResults::of_a_run(&run) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            results.inputs.insert(name, hash_file(&path).unwrap().sha256);
        }
        results.write(&run.validation()).unwrap();
        run
    }
}

pub fn by() -> By {
    By { who: "ann".to_owned(), reason: None }
}

/// Releases a run as the command does.
pub fn release(
    registry: &Registry,
    run: &RunFiles,
    hub: Option<&dyn Place>,
    promote: bool,
) -> Result<Outcome> {
    let results = validated(run)?;
    let record = RunRecord::read(&run.record())?;
    let lineage = Lineage { base_model: record.base_model, inputs: record.inputs, parent: None };
    let license = Some(License { id: "mit".to_owned(), name: None, link: None });
    let (facts, by) = (CardFacts { license, ..CardFacts::default() }, by());
    let now = jiff::Timestamp::now();
    let candidate = Candidate { run, results: &results, lineage, facts: &facts, by: &by, now };
    let mut writer = registry.write(by.clone())?;
    let plan = writer.plan(&candidate, hub)?;
    if let Some(release) = plan.already {
        let pending = hub.and_then(|hub| writer.push(hub).err());
        return Ok(Outcome { release, pending });
    }
    writer.release(&plan, hub, promote)
}

/// A project of its own, with a Hub of its own.
pub struct Project {
    pub fake: FakeHub,
    pub hub: HubPlace,
    pub registry: Registry,
    pub dir: tempfile::TempDir,
}

impl Project {
    /// One that released `r1`, `r2` and so on with these adapters, to the Hub as well or here alone.
    pub fn released(adapters: &[&[u8]], is_pushed: bool) -> Self {
        let (fake, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
        let (hub, registry) = (place(&fake, None), Registry::new(&layout(dir.path())));
        let project = Self { fake, hub, registry, dir };
        for (index, adapter) in adapters.iter().enumerate() {
            let run = project.run(&format!("r{}", index + 1), adapter);
            let hub = is_pushed.then_some(&project.hub as &dyn Place);
            release(&project.registry, &run, hub, true).unwrap();
        }
        project
    }

    pub fn run(&self, name: &str, adapter: &[u8]) -> RunFiles {
        run(name, adapter).write(self.dir.path())
    }

    pub fn writer(&self) -> Writer {
        self.registry.write(by()).unwrap()
    }

    /// What the Hub holds.
    pub fn served(&self) -> Repository {
        self.fake.repository(REPO)
    }
}

/// Counts requests and steps, and ends everything at one of them.
#[derive(Default)]
pub struct Killer {
    count: AtomicUsize,
    at: AtomicUsize,
    does_the_work: AtomicBool,
    is_dead: AtomicBool,
}

impl Killer {
    pub fn new() -> Arc<Self> {
        let killer = Arc::new(Self::default());
        killer.spare();
        killer
    }

    /// Lets everything live, and counts anew.
    pub fn spare(&self) {
        self.kill_at(usize::MAX, false);
    }

    /// Ends everything at the request or step of this number, from 1; a request's work is done or not.
    pub fn kill_at(&self, at: usize, does_the_work: bool) {
        self.at.store(at, Ordering::SeqCst);
        self.does_the_work.store(does_the_work, Ordering::SeqCst);
        self.count.store(0, Ordering::SeqCst);
        self.is_dead.store(false, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn is_the_end(&self) -> bool {
        let is_it = self.count.fetch_add(1, Ordering::SeqCst) + 1 == self.at.load(Ordering::SeqCst);
        if is_it {
            self.is_dead.store(true, Ordering::SeqCst);
        }
        is_it
    }

    fn step(&self) -> bool {
        self.is_dead() || self.is_the_end()
    }

    pub fn request(&self) -> Fault {
        if self.is_dead() {
            return Fault::Instead(Answer::Lost);
        }
        match (self.is_the_end(), self.does_the_work.load(Ordering::SeqCst)) {
            (false, _) => Fault::None,
            (true, true) => Fault::Afterwards(Answer::Lost),
            (true, false) => Fault::Instead(Answer::Lost),
        }
    }

    /// The registry in `dir`, whose steps this one may end.
    pub fn registry(self: &Arc<Self>, dir: &Path) -> Registry {
        let killer = Arc::clone(self);
        let base = BasePlaces { copies_processor: true, ..BasePlaces::default() };
        let options = registry::Options { base, ..registry::Options::default() };
        Registry::watched(&layout(dir), Arc::new(move |_| killer.step())).with(options)
    }

    /// The Hub, whose requests this one may end.
    pub fn hub(self: &Arc<Self>, fake: &FakeHub) -> HubPlace {
        let killer = Arc::clone(self);
        fake.on_request(move |_: &Request| killer.request());
        let killer = Arc::clone(self);
        place(fake, Some(Arc::new(move || killer.is_dead())))
    }
}

pub fn place(fake: &FakeHub, cancel: Option<http_client::Cancel>) -> HubPlace {
    place_of(fake, REPO, cancel)
}

pub fn place_of(fake: &FakeHub, repo: &str, cancel: Option<http_client::Cancel>) -> HubPlace {
    let retry = Retry { attempts: 3, base: Duration::from_millis(10), ..Retry::default() };
    let options = Options { retry, cancel, ..Options::default() };
    HubPlace::new(Hub::new(&fake.server.base, Some(TOKEN), options).unwrap(), repo, true)
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
