//! Several processes of the command train what one does; one that is lost ends the run, and one process carries it on.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{TRAIN, adapter, alone, assert_same_run, command, until_steps, values};
use pq_testing::project::{Project, code, stderr, trained};

/// The command as process `rank` of `size`, as torchrun would start it.
fn process(project: &Project, args: &[&str], rank: usize, size: usize, port: u16) -> Command {
    let mut command = command(project, args);
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(project: &Project, args: &[&str], size: usize) -> Vec<Child> {
    let port = free_port();
    (0..size).map(|rank| process(project, args, rank, size, port).spawn().unwrap()).collect()
}

fn finished(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

#[test]
fn two_processes_train_what_one_does_and_the_same_bits_again() {
    let project = Project::new(6);
    alone(&project, &["--run", "one"]);
    for run in ["two", "again"] {
        for (rank, output) in finished(start(&project, &["--run", run], 2)).iter().enumerate() {
            assert!(trained(output), "process {rank}: {}", stderr(output));
            assert_eq!(output.stdout.is_empty(), rank > 0, "the first says what came of it");
            assert_eq!(stderr(output).contains("INFO"), rank == 0, "{}", stderr(output));
        }
    }
    assert_same_run(&project, "one", "two");
    assert!(adapter(&project, "two") == adapter(&project, "again"), "the same bits");
    for file in ["run.json", "reference_predictions.jsonl", "config.toml"] {
        assert!(project.path("outputs/two").join(file).exists(), "{file}");
    }
    let record: serde_json::Value = serde_json::from_str(&project.read("outputs/two/run.json")).unwrap();
    assert_eq!(record["hardware"]["processes"], 2);
    let config = |run: &str| project.read(&format!("outputs/{run}/config.toml")).replace(run, "one");
    assert_eq!(
        config("two"),
        config("one"),
        "what a run is scored by does not tell how many processes made it"
    );
}

/// Kills one of two processes in the middle; the other ends within ten seconds and says why, and one process carries the run on.
#[test]
fn a_process_that_is_lost_ends_the_run_and_one_carries_it_on() {
    let project = Project::new(6);
    alone(&project, &["--run", "whole"]);
    for lost in [1, 0] {
        let run = format!("lost-{lost}");
        let mut children = start(&project, &["--run", &run], 2);
        until_steps(&project, &run, 15);
        children[lost].kill().unwrap();
        let killed = Instant::now();
        children[lost].wait().unwrap();
        let other = children.swap_remove(1 - lost).wait_with_output().unwrap();
        let took = killed.elapsed();
        println!("process {lost} killed: the other ended after {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(code(&other), 2, "{}", stderr(&other));
        let said = stderr(&other);
        assert!(
            said.contains(&format!("process {lost} of 2 is gone")) && said.contains("--resume"),
            "{said}"
        );
        if lost == 1 {
            let last = values(&project, &run, "loss").last().unwrap().0;
            assert!(
                project.path(&format!("outputs/{run}/checkpoints/step-{last}")).is_dir(),
                "the last whole step is saved"
            );
        }
        alone(&project, &["--resume", "--run", &run]);
        assert_same_run(&project, "whole", &run);
    }
}

/// A process that stands still, as one whose machine is gone, has no connection that ends: it is missed by its silence.
#[test]
fn a_process_that_falls_silent_ends_the_run() {
    let project = Project::new(6);
    let mut children = start(&project, &["--run", "silent"], 2);
    until_steps(&project, "silent", 5);
    let signal = |name: &str, child: &Child| {
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP", &children[1]);
    let stopped = Instant::now();
    let first = children.remove(0).wait_with_output().unwrap();
    println!("the other ended {:?} after the process stood still", stopped.elapsed());
    signal("-KILL", &children[0]);
    children[0].wait().unwrap();
    let said = stderr(&first);
    assert!(code(&first) == 2 && said.contains("nothing was heard of it for 8 s"), "{said}");
    let last = values(&project, "silent", "loss").last().unwrap().0;
    assert!(project.path(&format!("outputs/silent/checkpoints/step-{last}")).is_dir(), "{said}");
}

/// A launcher whose variables say that there are several, and nothing that connects them: not a run each in one folder.
#[test]
fn several_processes_that_nothing_connects_are_refused() {
    let project = Project::new(4);
    for [index, count] in [
        ["RANK", "WORLD_SIZE"],
        ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        ["PMI_RANK", "PMI_SIZE"],
    ] {
        // A build with MPI takes what only MPI sets for a start by it.
        let is_of_mpi = cfg!(feature = "mpi") && !["RANK", "SLURM_PROCID"].contains(&index);
        let remedy = if is_of_mpi { "mpirun" } else { "MASTER_ADDR" };
        for rank in ["0", "1"] {
            let mut command = project.command(TRAIN, &["--run", "several"]);
            let output = command.env(index, rank).env(count, "2").output().unwrap();
            let said = stderr(&output);
            assert_eq!(code(&output), 2, "{said}");
            assert!(said.contains(index) && said.contains(remedy), "{said}");
        }
    }
    assert!(!project.path("outputs/several").exists());
    // Half of a launcher's word, and two that contradict each other.
    let mut command = project.command(TRAIN, &["--run", "several"]);
    let output = command
        .envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("PMI_RANK", "1"), ("PMI_SIZE", "2")])
        .output()
        .unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let output = project.run(TRAIN, &["--run", "several", "--set", "processes.transport=mpi"]);
    if cfg!(not(feature = "mpi")) {
        assert!(code(&output) == 2 && stderr(&output).contains("--features mpi"), "{}", stderr(&output));
    }
    // Who says that each is alone gets a run each.
    let mut command = project.command(
        TRAIN,
        &["--run", "alone", "--set", "processes.transport=none", "--set", "training.max_steps=1"],
    );
    let output = command.env("RANK", "1").env("WORLD_SIZE", "2").output().unwrap();
    assert!(trained(&output), "{}", stderr(&output));
}

/// What the first process cannot do, and what another one cannot, is said by both.
#[test]
fn a_process_that_cannot_go_on_ends_the_others_with_its_reason() {
    let project = Project::new(4);
    std::fs::write(project.path("outputs"), "no folder").unwrap();
    let ended = finished(start(&project, &["--run", "no-folder"], 2));
    assert!(ended.iter().all(|output| code(output) == 2));
    assert!(stderr(&ended[1]).contains("process 0 of 2 ended the job"), "{}", stderr(&ended[1]));
    std::fs::remove_file(project.path("outputs")).unwrap();

    let port = free_port();
    let seeds = ["training.seed=1", "training.seed=2"];
    let children = (0..2).map(|rank| {
        process(&project, &["--run", "seeds", "--set", seeds[rank]], rank, 2, port).spawn().unwrap()
    });
    for output in finished(children.collect()) {
        assert!(
            code(&output) == 2 && stderr(&output).contains("`training.seed` is 2, not 1"),
            "{}",
            stderr(&output)
        );
    }
}
