//! Shards as tasks of a real Slurm array. Where Slurm is not installed the tests are ignored.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

use pq_testing::Cluster;
use pq_testing::project::{Project, base_model, code, fake_run, repository, stderr};

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");

pq_testing::tests! {
    an_array_with_a_task_that_is_killed_and_requeued_scores_what_one_process_does: needs Slurm;
    what_an_array_leaves_out_is_named_and_run_again: needs Slurm;
}

const AT: &str = "2026-11-30T06:00:00Z";

/// A command `pq-score` for tasks, which does something before it scores with the project's adapter.
fn install(project: &Project, before: &str) {
    let base = base_model().display().to_string();
    let text = format!(
        "#!/bin/bash\nscore() {{ exec {SCORE} \"$@\" --adapter outputs/run-1 --set model.name={base}; }}\n{before}\nscore \"$@\"\n"
    );
    project.write("bin/pq-score", &text);
    let program = project.path("bin/pq-score");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Hands in the script that is shipped.
fn submit(cluster: &Cluster, project: &Project, array: &str, more: &[&str]) -> String {
    let folder = project.path("").display().to_string();
    let log = project.path("task-%a.txt").display().to_string();
    let export = format!("PATH={}:/usr/bin:/bin,HOME={folder}", project.path("bin").display());
    let options = ["--array", array, "--chdir", &folder, "--output", &log, "--export", &export];
    let script = repository().join("deploy/slurm/score.sbatch");
    let arguments = ["data/raw/manifest.jsonl", "parts", "--scored-at", AT];
    cluster.submit(&options, &script, &[&arguments[..], more].concat())
}

fn told(project: &Project) -> String {
    (0..4)
        .map(|task| std::fs::read_to_string(project.path(&format!("task-{task}.txt"))).unwrap_or_default())
        .collect()
}

fn merge(project: &Project, folder: &str) -> std::process::Output {
    project.bare_command(SCORE).args(["merge", folder, "--no-log"]).output().unwrap()
}

/// What one process writes.
fn alone(project: &Project) -> Vec<u8> {
    let args =
        ["--adapter", "outputs/run-1", "data/raw/manifest.jsonl", "--parts", "alone", "--scored-at", AT];
    let base = format!("model.name={}", base_model().display());
    let output = project.bare_command(SCORE).args(args).args(["--set", &base]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let merged = merge(project, "alone");
    assert_eq!(code(&merged), 0, "{}", stderr(&merged));
    std::fs::read(project.path("alone/scored.parquet")).unwrap()
}

fn an_array_with_a_task_that_is_killed_and_requeued_scores_what_one_process_does() {
    let project = Project::new(8);
    fake_run(&project);
    let cluster = Cluster::start(&project.path("slurm"));
    // The third task is held where it has begun its part, until it is killed.
    let held = r#"
if [ "$SLURM_ARRAY_TASK_ID" = 2 ] && [ -z "$SLURM_RESTART_COUNT" ]; then
  score "$@" & pid=$!
  until compgen -G 'parts/.new-2-*' > /dev/null || ! kill -0 $pid 2> /dev/null; do :; done
  kill -STOP $pid && touch held
  wait
fi"#;
    install(&project, held);
    let job = submit(&cluster, &project, "0-3", &[]);
    cluster.until("the task has begun its part", || project.path("held").exists());
    let half_written = || {
        let entries = std::fs::read_dir(project.path("parts")).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".new-2-")).count()
    };
    assert_eq!(half_written(), 1);
    let refused = merge(&project, "parts");
    assert!(
        code(&refused) == 1 && String::from_utf8_lossy(&refused.stdout).contains('2'),
        "{}",
        stderr(&refused)
    );
    cluster.answers("scontrol", &["requeue", &format!("{job}_2")]).expect("requeued");
    assert_eq!(cluster.ended(&job), ["COMPLETED"; 4], "{}", told(&project));
    assert!(project.read("task-2.txt").contains("REQUEUE"), "it was killed: {}", told(&project));
    let merged = merge(&project, "parts");
    assert_eq!(code(&merged), 0, "{}\n{}", stderr(&merged), told(&project));
    assert_eq!(std::fs::read(project.path("parts/scored.parquet")).unwrap(), alone(&project));
}

fn what_an_array_leaves_out_is_named_and_run_again() {
    let project = Project::new(4);
    fake_run(&project);
    let cluster = Cluster::start(&project.path("slurm"));
    let failing = r#"if [ "$SLURM_ARRAY_TASK_ID" = 1 ]; then exit 7; fi"#;
    install(&project, failing);
    let job = submit(&cluster, &project, "0-2", &[]);
    assert_eq!(cluster.ended(&job), ["COMPLETED", "FAILED", "COMPLETED"], "{}", told(&project));
    let output = merge(&project, "parts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(code(&output) == 1 && said.contains("--array=1 and --shard /3"), "{said} {}", stderr(&output));
    // The same numbers in an array of their own mean another work, unless it is said how many shards there are.
    install(&project, "");
    let alone_in_its_array = submit(&cluster, &project, "1", &[]);
    assert_eq!(cluster.ended(&alone_in_its_array), ["FAILED"]);
    assert!(told(&project).contains("shards: 3 there, 1 here"), "{}", told(&project));
    let again = submit(&cluster, &project, "1", &["--shard", "/3"]);
    assert_eq!(cluster.ended(&again), ["COMPLETED"], "{}", told(&project));
    let merged = merge(&project, "parts");
    assert_eq!(code(&merged), 0, "{}", stderr(&merged));
    assert_eq!(std::fs::read(project.path("parts/scored.parquet")).unwrap(), alone(&project));
}
