//! The processes of a run: which one this is, and what carries numbers between them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pq_cli::launcher::{Launcher, Place, rank_place};
use pq_cli::{Hint, ProjectConfig, WithHint as _, secrets};
use process_group::{Machine, ProcessGroup, TcpGroup, TcpOptions};
use slide_scorer::{ProcessesConfig, TransportKind};

const REMEDY: &str = "export MASTER_ADDR (the machine of the first process) and MASTER_PORT for all of them, or build pq-train with \
    `--features mpi`; `--set processes.transport=none` starts runs of their own (docs/several-processes.md)";

const MPI_REMEDY: &str =
    "start it with the launcher of the MPI that it was built with: `mpirun`, or `srun --mpi=pmix`";

/// The processes of a run as this one sees them.
pub(crate) struct Processes {
    group: Option<Box<dyn ProcessGroup>>,
    machines: Vec<Machine>,
}

impl Processes {
    /// This process alone.
    pub(crate) fn alone() -> Self {
        Self { group: None, machines: Vec::new() }
    }

    /// Joins the other processes that a launcher started with this one.
    ///
    /// # Errors
    /// When a launcher started several and nothing connects them, or they do not come together: they would all train the same run.
    pub(crate) fn join(project: &ProjectConfig) -> Result<Self> {
        let config: ProcessesConfig = project.section("processes", ProcessesConfig::validate)?;
        if config.transport == TransportKind::None {
            return Ok(Self::alone());
        }
        let place = rank_place(&secrets::variable).hint("it is not clear which process this is", REMEDY)?;
        let group = match chosen(config.transport, place)? {
            Chosen::Alone => return Ok(Self::alone()),
            Chosen::Tcp(place) => by_tcp(place, &config)?,
            Chosen::Mpi => by_mpi(place)?,
        };
        let machines = Machine::of_all(group.as_ref()).context("the processes do not come together")?;
        let processes = Self { group: Some(group), machines };
        if !processes.is_first() {
            pq_cli::log_warnings_only();
        }
        processes.share_cpus()?;
        processes.end_with_the_others(config.save_s)?;
        if let count @ 2.. = processes.machines.len() {
            tracing::info!(
                "{count} processes train one run; this is the first of them, which says what happens"
            );
        }
        Ok(processes)
    }

    /// All processes, where there are several.
    pub(crate) fn group(&self) -> Option<&dyn ProcessGroup> {
        self.group.as_deref()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.group().map_or(1, ProcessGroup::size)
    }

    /// Whether this is the one that writes.
    pub(crate) fn is_first(&self) -> bool {
        self.group().is_none_or(|group| group.rank() == 0)
    }

    /// Does something in the first process and, once that is done, in the others: what is fetched or written once, the others find.
    pub(crate) fn first_then<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(group) = self.group() else { return work() };
        if group.rank() == 0 {
            let done = work()?;
            group.barrier()?;
            return Ok(done);
        }
        group.barrier()?;
        work()
    }

    /// Does something in the first process alone, and tells the others what came of it.
    pub(crate) fn told(&self, work: impl FnOnce() -> Result<String>) -> Result<String> {
        let mut text = if self.is_first() { work()?.into_bytes() } else { Vec::new() };
        if let Some(group) = self.group() {
            group.broadcast(&mut text)?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Tells the others whether to do something with the first process.
    pub(crate) fn tell_whether(&self, is_wanted: bool) -> Result<()> {
        self.told(|| Ok(if is_wanted { "yes" } else { "no" }.to_owned())).map(drop)
    }

    /// What the first process [tells](Self::tell_whether).
    pub(crate) fn is_told_to(&self) -> Result<bool> {
        Ok(self.told(|| Ok(String::new()))? == "yes")
    }

    /// Tells the others how this process ends, so that none waits for it.
    pub(crate) fn end<T>(&self, result: &Result<T>) {
        match (self.group(), result) {
            (Some(group), Ok(_)) => group.leave(),
            (Some(group), Err(error)) => group.abort(&format!("{error:#}")),
            (None, _) => {}
        }
    }

    /// Of the processes on this machine the number of this one.
    fn number_here(&self) -> usize {
        let Some(group) = self.group() else { return 0 };
        let here = &self.machines[group.rank()];
        self.machines[..group.rank()].iter().filter(|other| here.is_same(other)).count()
    }

    /// The device for this process: each on one machine takes a GPU of its own, as far as there are.
    pub(crate) fn device(&self, device: &str) -> String {
        let gpus = gpus();
        match device {
            "auto" | "cuda" if self.group.is_some() && gpus > 0 => {
                format!("cuda:{}", self.number_here() % gpus)
            }
            named => named.to_owned(),
        }
    }

    /// Gives each process its part of CPUs that several of them may use; a launcher that binds them has done so already.
    fn share_cpus(&self) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let sharers = self.machines[group.rank()].sharers(&self.machines);
        if sharers > 1 && secrets::variable("RAYON_NUM_THREADS").is_none() {
            let all = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = (all / sharers).max(1);
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("no threads")?;
            tracing::info!("{sharers} processes share {all} CPUs: each computes on {threads}");
        }
        Ok(())
    }

    /// Ends this process soon after another one is lost, wherever it is then: the first has the time to save, the others have nothing to.
    fn end_with_the_others(&self, save_s: u64) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let (watch, rank) = (group.watch(), group.rank());
        let grace = Duration::from_secs(if rank == 0 { save_s } else { 1 });
        let wait = move || {
            let loss = loop {
                if let Some(loss) = watch.lost() {
                    break loss;
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            tracing::error!("{loss}");
            std::thread::sleep(grace);
            tracing::error!(
                "process {rank} ends before its pass did; `pq-train --resume` carries on from the last checkpoint"
            );
            // Who computes cannot be interrupted otherwise.
            std::process::exit(2);
        };
        let started = std::thread::Builder::new().name("others".to_owned()).spawn(wait);
        started.map(drop).context("no thread can be started")
    }
}

#[derive(Debug, PartialEq)]
enum Chosen {
    Alone,
    Tcp(Place),
    Mpi,
}

fn chosen(transport: TransportKind, place: Option<Place>) -> Result<Chosen> {
    let is_set = |name: &str| secrets::variable(name).is_some();
    let Some(place) = place.filter(|place| place.count > 1) else {
        return Ok(if transport == TransportKind::Mpi { Chosen::Mpi } else { Chosen::Alone });
    };
    let by_mpi = matches!(place.by, Launcher::OpenMpi | Launcher::Mpich);
    let is_mpi = by_mpi || is_set("PMIX_RANK") || is_set("PMI_RANK");
    match transport {
        TransportKind::None => Ok(Chosen::Alone),
        TransportKind::Tcp => Ok(Chosen::Tcp(place)),
        TransportKind::Mpi if is_mpi || cfg!(not(feature = "mpi")) => Ok(Chosen::Mpi),
        TransportKind::Auto if is_mpi && cfg!(feature = "mpi") => Ok(Chosen::Mpi),
        TransportKind::Auto if is_set("MASTER_ADDR") => Ok(Chosen::Tcp(place)),
        TransportKind::Auto => {
            bail!(Hint::new(format!("this is process {place}, and nothing connects them"), REMEDY))
        }
        TransportKind::Mpi => {
            bail!(Hint::new(format!("this is process {place}, of which MPI knows nothing"), MPI_REMEDY))
        }
    }
}

/// A port of `MASTER_PORT`, and the machine of the first process.
fn by_tcp(place: Place, config: &ProcessesConfig) -> Result<Box<dyn ProcessGroup>> {
    let (Some(host), Some(port)) = (secrets::variable("MASTER_ADDR"), secrets::variable("MASTER_PORT"))
    else {
        bail!(Hint::new("MASTER_ADDR and MASTER_PORT do not both say where the first process is", REMEDY));
    };
    let port = port.parse().ok().with_context(|| format!("MASTER_PORT is `{port}`, which is no port"))?;
    let names = ["SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"].into_iter().find_map(secrets::variable);
    let options = TcpOptions {
        rank: place.index,
        size: place.count,
        host,
        port,
        job: names.unwrap_or_default(),
        patience: Duration::from_secs(config.start_s),
    };
    let group = TcpGroup::join(&options).hint(
        format!("process {place} is not connected with the others"),
        "see that all were started, and that MASTER_ADDR and MASTER_PORT are those of the first process",
    )?;
    Ok(Box::new(group))
}

#[cfg(feature = "mpi")]
fn by_mpi(place: Option<Place>) -> Result<Box<dyn ProcessGroup>> {
    let group = process_group::MpiGroup::join().context("MPI cannot be begun")?;
    let known = place.map_or(1, |place| place.count);
    if group.size() != known || place.is_some_and(|place| place.index != group.rank()) {
        let (rank, size) = (group.rank(), group.size());
        let told =
            place.map_or_else(|| "no launcher says so".to_owned(), |place| format!("it is process {place}"));
        let error = Hint::new(
            format!("for MPI this is process {rank} of {size}, and {told}: each would train the run"),
            MPI_REMEDY,
        );
        group.abort(&error.to_string());
        bail!(error);
    }
    if !group.is_watched() {
        tracing::warn!(
            "no connection can be made between the processes beside MPI: a loss is noticed by MPI's launcher alone"
        );
    }
    Ok(Box::new(group))
}

#[cfg(not(feature = "mpi"))]
fn by_mpi(_: Option<Place>) -> Result<Box<dyn ProcessGroup>> {
    bail!(Hint::new(
        "this pq-train was built without MPI",
        "build it with `--features mpi`, or set `processes.transport` to `tcp`, MASTER_ADDR and MASTER_PORT"
    ))
}

#[cfg(feature = "cuda")]
fn gpus() -> usize {
    vlm_lora::backend::cuda::device_count()
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> usize {
    0
}
