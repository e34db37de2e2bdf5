//! Slurm on this machine alone, for tests of what runs under it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take that takes seconds.
const PATIENCE: Duration = Duration::from_mins(5);

/// A cluster of one node, this machine, on the loopback address: munge, the controller and the node's daemon, with their files in a folder.
/// They end with it.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    daemons: Vec<Child>,
}

impl Cluster {
    /// Whether the daemons are installed, and this user may start them.
    pub(crate) fn can_start() -> bool {
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
        let starts = |program: &str, argument: &str| {
            let mut command = Command::new(program);
            let quiet =
                command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        is_root
            && ["slurmctld", "slurmd"].iter().all(|program| starts(program, "-V"))
            && starts("munged", "--version")
    }

    /// Starts one in a folder, which is made.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub fn start(folder: &Path) -> Self {
        for name in ["state", "spool"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder for Slurm");
        }
        let mut cluster = Self { folder: folder.to_owned(), daemons: Vec::new() };
        let key = folder.join("munge.key");
        std::fs::write(&key, std::array::from_fn::<u8, 64, _>(|at| at as u8)).expect("a key");
        restrict(&key);
        let option = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
        let files = [
            option("key-file", "munge.key"),
            option("socket", "munge.sock"),
            option("pid-file", "munged.pid"),
            option("log-file", "munged.log"),
            option("seed-file", "munge.seed"),
        ];
        cluster.spawn("munged", &[&["--foreground".to_owned(), "--force".to_owned()], &files[..]].concat());
        cluster.until("munge answers", || folder.join("munge.sock").exists());
        std::fs::write(cluster.configuration(), configuration(folder)).expect("slurm.conf");
        cluster.spawn("slurmctld", &["-D".to_owned(), "-c".to_owned()]);
        cluster.until("the controller answers", || cluster.answers("sinfo", &["-h"]).is_some());
        cluster.spawn("slurmd", &["-D".to_owned()]);
        cluster.until("the node is idle", || {
            cluster.answers("sinfo", &["-h", "-o", "%t"]).is_some_and(|state| state.trim() == "idle")
        });
        cluster
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    fn spawn(&mut self, program: &str, arguments: &[String]) {
        let log = std::fs::File::create(self.folder.join(format!("{program}.out"))).expect("a log");
        let mut command = self.command(program);
        let quiet = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemons.push(quiet.spawn().expect("a daemon that is installed"));
    }

    /// A command that speaks to this cluster.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    /// What a command prints, where it succeeds.
    pub fn answers(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(program).args(arguments).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Hands in a script with these options of `sbatch` and arguments of its own, and returns the number of the job.
    ///
    /// # Panics
    /// Where it is refused.
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub fn submit(&self, options: &[&str], script: &Path, arguments: &[&str]) -> String {
        let mut command = self.command("sbatch");
        let output =
            command.arg("--parsable").args(options).arg(script).args(arguments).output().expect("sbatch");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a job has ended, and returns how its tasks ended (`COMPLETED`, `FAILED`), by their numbers.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn ended(&self, job: &str) -> Vec<String> {
        self.until("the job ends", || {
            self.answers("squeue", &["-h", "-j", job]).is_none_or(|left| left.trim().is_empty())
        });
        let told = self.answers("scontrol", &["-o", "show", "job", job]).unwrap_or_default();
        let word = |line: &str, name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default();
            found.to_owned()
        };
        let mut tasks: Vec<(usize, String)> = told
            .lines()
            .map(|line| (word(line, "ArrayTaskId=").parse().unwrap_or(0), word(line, "JobState=")))
            .collect();
        tasks.sort();
        tasks.into_iter().map(|(_, state)| state).collect()
    }

    /// Waits until `check` holds.
    ///
    /// # Panics
    /// Where it does not; what the daemons wrote is told.
    #[track_caller]
    pub fn until(&self, what: &str, mut check: impl FnMut() -> bool) {
        let start = Instant::now();
        while !check() {
            assert!(start.elapsed() < PATIENCE, "waited too long until {what}: {}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        ["munged.log", "slurmctld.log", "slurmd.log"].map(read).join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.answers("scancel", &["--signal=KILL", "--full", "--user=root"]);
        let _ = self.answers("scancel", &["--user=root"]);
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[cfg(unix)]
fn restrict(path: &Path) {
    let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    let _ = std::fs::set_permissions(path, owner);
}

#[cfg(not(unix))]
fn restrict(_: &Path) {}

/// A port that is free now.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// The least that one node needs. Jobs are counted from the controller's port: `PMIx` names its folder in `/tmp` by user, job and step alone,
/// so the first jobs of two clusters at once would share it. A requeued job waits as long as a credential is good: five seconds instead of two minutes.
fn configuration(folder: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().split('.').next().unwrap_or_default().to_owned();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (controller, node) = (free_port(), free_port());
    let folder = folder.display();
    format!(
        "ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller}
FirstJobId={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=2
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"
    )
}
