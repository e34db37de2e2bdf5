//! The command under `mpirun` and real Slurm. Where they are not installed the tests are ignored.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{SETTINGS, TRAIN, adapter, alone, assert_same_run, until_steps, values};
use pq_testing::Cluster;
use pq_testing::project::{Project, base_model, code, repository, stderr, trained};

pq_testing::tests! {
    two_processes_of_mpirun_train_what_one_does: needs Mpi;
    a_process_that_is_killed_under_mpirun_ends_the_job_and_one_carries_it_on: needs Mpi;
    two_tasks_of_srun_train_what_one_process_does_over_mpi_and_over_tcp: needs Mpi, Slurm;
    a_task_that_is_killed_under_srun_ends_the_job_and_one_carries_it_on: needs Mpi, Slurm;
    tasks_that_mpi_does_not_know_are_refused: needs Mpi, Slurm;
}

/// `mpirun` of two processes of the command.
fn mpirun(project: &Project, args: &[&str]) -> Command {
    let mut command = project.bare_command("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", "2"]);
    let trained = common::command(project, args);
    command.arg(TRAIN).args(trained.get_args());
    // Time for the first process to save, after another one died.
    command.env("OMPI_MCA_odls_base_sigkill_timeout", "3");
    command
}

fn two_processes_of_mpirun_train_what_one_does() {
    let project = Project::new(6);
    alone(&project, &["--run", "one"]);
    for run in ["two", "again"] {
        let output = mpirun(&project, &["--run", run]).output().unwrap();
        assert!(trained(&output), "{}", stderr(&output));
        assert!(stderr(&output).contains("2 processes train one run"), "{}", stderr(&output));
    }
    assert_same_run(&project, "one", "two");
    assert!(adapter(&project, "two") == adapter(&project, "again"), "the same bits");
}

/// The process of this project that has a variable.
fn process_with(project: &Project, variable: &str) -> Option<String> {
    let here = project.path("").canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let has = std::fs::read(path.join("environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()));
        let is_train = std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe.ends_with("pq-train"));
        has && is_train && std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == here)
    };
    let found = processes.into_iter().find(is_it)?;
    Some(found.file_name()?.to_str()?.to_owned())
}

/// Kills the second process after fifteen steps, and returns what the job says and how long it went on.
fn killed(project: &Project, run: &str, mut job: Command, variable: &str) -> (Output, Duration) {
    let job = job.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_steps(project, run, 15);
    let pid = process_with(project, variable).expect("the second process");
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let at = Instant::now();
    let output = job.wait_with_output().unwrap();
    (output, at.elapsed())
}

fn is_carried_on(project: &Project, run: &str, (output, took): (Output, Duration)) {
    assert!(code(&output) != 0 && took < Duration::from_secs(10), "{took:?}: {}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("process 1 of 2 is gone") && said.contains("--resume"), "{said}");
    let last = values(project, run, "loss").last().unwrap().0;
    let saved = project.path(&format!("outputs/{run}/checkpoints/step-{last}"));
    assert!(saved.is_dir(), "the last whole step is saved: {said}");
    alone(project, &["--resume", "--run", run]);
    assert_same_run(project, "whole", run);
}

fn a_process_that_is_killed_under_mpirun_ends_the_job_and_one_carries_it_on() {
    let project = Project::new(6);
    alone(&project, &["--run", "whole"]);
    let job = mpirun(&project, &["--run", "killed"]);
    let ended = killed(&project, "killed", job, "OMPI_COMM_WORLD_RANK=1");
    is_carried_on(&project, "killed", ended);
}

/// A job of two tasks by a script of `deploy/slurm`, which is waited for.
fn job(cluster: &Cluster, project: &Project, script: &str, args: &[&str]) -> Command {
    let mut command = cluster.command("sbatch");
    command.current_dir(project.path("")).env("PQ_TRAIN", TRAIN).env("HOME", project.path(""));
    command.args(["--wait", "--ntasks=2", "--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0"]);
    command.args(["--mem=0", "--output=job.txt", "--open-mode=append"]);
    command.arg(repository().join("deploy/slurm").join(script));
    let given = common::command(project, args);
    command.args(given.get_args()).args(["--set", "processes.save_s=8"]);
    command
}

/// What a job wrote, in place of what `sbatch` did.
fn told(project: &Project, output: Output) -> Output {
    let stderr = std::fs::read(project.path("job.txt")).unwrap_or_default();
    Output { stderr: [output.stderr, stderr].concat(), ..output }
}

fn two_tasks_of_srun_train_what_one_process_does_over_mpi_and_over_tcp() {
    let project = Project::new(6);
    alone(&project, &["--run", "one"]);
    let cluster = Cluster::start(&project.path("slurm"));
    for (run, script) in [("mpi", "train-mpi.sbatch"), ("tcp", "train-multi-gpu.sbatch")] {
        let args = ["--run", run, "--set", "model.device=cpu"];
        let output = job(&cluster, &project, script, &args).output().unwrap();
        let output = told(&project, output);
        assert!(trained(&output), "{}", stderr(&output));
        assert!(stderr(&output).contains("2 processes train one run"), "{}", stderr(&output));
        assert_same_run(&project, "one", run);
    }
}

fn a_task_that_is_killed_under_srun_ends_the_job_and_one_carries_it_on() {
    let project = Project::new(6);
    alone(&project, &["--run", "whole"]);
    let cluster = Cluster::start(&project.path("slurm"));
    let job = job(&cluster, &project, "train-mpi.sbatch", &["--run", "killed"]);
    let (output, took) = killed(&project, "killed", job, "SLURM_PROCID=1");
    is_carried_on(&project, "killed", (told(&project, output), took));
}

/// `srun` without the MPI that the program speaks: every task would be process 0 of 1.
fn tasks_that_mpi_does_not_know_are_refused() {
    let project = Project::new(4);
    let cluster = Cluster::start(&project.path("slurm"));
    for transport in ["auto", "mpi"] {
        let transport = format!("processes.transport={transport}");
        let mut command = cluster.command("srun");
        command.current_dir(project.path("")).env("HOME", project.path("")).args([
            "--mpi=none",
            "-n",
            "2",
            TRAIN,
        ]);
        let base = format!("model.name={}", base_model().display());
        let output = command
            .args(["--run", "refused", "--set", &base, "--set", &transport])
            .args(SETTINGS)
            .output()
            .unwrap();
        let said = stderr(&output);
        assert!(code(&output) == 2 && said.contains("SLURM_PROCID"), "{said}");
        assert!(said.contains("srun --mpi=pmix") || said.contains("MASTER_ADDR"), "{said}");
    }
    assert!(!project.path("outputs/refused").exists());
}
