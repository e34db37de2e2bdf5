//! Collecting by the tasks of a real Slurm array. Where Slurm is not installed the test is ignored.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pq_testing::Cluster;

use common::Place;
use common::same::{assert_same, copy_of, done};
use common::support::deck;

pq_testing::tests! {
    an_array_with_a_task_that_is_killed_and_requeued_collects_what_one_process_does: needs Slurm;
}

const AT: [&str; 2] = ["--collected-at", "2026-11-30T06:00:00Z"];

/// A command `pq-collect` for tasks. The third one is held where it has taken in the first of its files, until it is killed.
fn install(place: &Place) {
    let text = format!(
        r#"#!/bin/bash
if [ "$SLURM_ARRAY_TASK_ID" = 2 ] && [ -z "$SLURM_RESTART_COUNT" ]; then
  {0} "$@" & pid=$!
  until compgen -G 'data/raw/shards/00002-of-00004/slides/*' > /dev/null || ! kill -0 $pid 2> /dev/null; do :; done
  kill -STOP $pid && touch held
  wait
fi
exec {0} "$@"
"#,
        env!("CARGO_BIN_EXE_pq-collect")
    );
    place.write("bin/pq-collect", text.as_bytes());
    let program = place.0.path().join("bin/pq-collect");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn told(place: &Place) -> String {
    (0..4)
        .map(|task| {
            std::fs::read_to_string(place.0.path().join(format!("task-{task}.txt"))).unwrap_or_default()
        })
        .collect()
}

fn an_array_with_a_task_that_is_killed_and_requeued_collects_what_one_process_does() {
    let alone = Place::new();
    for number in 0..8 {
        alone.write(
            &format!("data/raw/manual_uploads/deck{number}.pdf"),
            &deck(number / 2 * 2 + number % 3, 6),
        );
    }
    // Two versions of one deck in different shards, and many pages for the one that is killed.
    alone.write("data/raw/manual_uploads/deck4.pdf", &deck(40, 25));
    alone.write("data/raw/manual_uploads/deck5.pdf", &deck(0, 25));
    let place = copy_of(&alone);
    install(&place);
    let cluster = Cluster::start(&place.0.path().join("slurm"));
    let (folder, log) = (place.0.path().display().to_string(), place.0.path().join("task-%a.txt"));
    let export = format!("PATH={folder}/bin:/usr/bin:/bin,HOME={folder}");
    let log = log.display().to_string();
    let options = ["--array", "0-3", "--chdir", &folder, "--output", &log, "--export", &export];
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/slurm/collect.sbatch"));
    let job = cluster.submit(&options, script, &[&["--jobs", "1"], &AT[..]].concat());
    cluster.until("the task has taken something in", || place.0.path().join("held").exists());
    let shard = place.raw().join("shards/00002-of-00004");
    assert!(!shard.join("shard.json").exists(), "it is not finished: {}", told(&place));
    let (code, out, err) = place.run(&["merge"]);
    assert!(
        code == Some(1) && out.contains('2') && !place.raw().join("manifest.jsonl").exists(),
        "{out} {err}"
    );
    cluster.answers("scontrol", &["requeue", &format!("{job}_2")]).unwrap();
    assert_eq!(cluster.ended(&job), ["COMPLETED"; 4], "{}", told(&place));
    assert!(told(&place).contains("REQUEUE"), "it was killed: {}", told(&place));
    done(place.run(&[&["merge"], &AT[..]].concat()));
    done(alone.run(&AT));
    assert_same(&alone, &place);
}
