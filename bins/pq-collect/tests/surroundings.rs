//! What takes rights or tools that not everybody has: another user, a small disk, a terminal.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use pq_testing::SmallDisk;
use slide_data::Manifest;

use common::{Place, support};

pq_testing::tests! {
    a_store_without_write_permission_is_named_and_left_as_it_is: needs OtherUser;
    a_folder_that_may_not_be_opened_costs_a_line: needs OtherUser;
    a_full_disk_stops_the_run_and_leaves_a_whole_store: needs FullDisk;
    a_full_disk_stops_shards_and_their_merge_and_loses_nothing: needs FullDisk;
    a_terminal_gets_a_progress_bar: needs Terminal;
}

fn a_store_without_write_permission_is_named_and_left_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    place.write("in/deck.pdf", &support::deck(30, 1));
    place.json(&["in", "--json"]);
    place.write("in/more.pdf", &support::deck(31, 1));
    let mut command = place.command(&["in"]);
    if is_root() {
        // Permissions do not bind root: run as nobody.
        std::fs::set_permissions(place.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(65_534).gid(65_534);
    } else {
        for folder in ["data/raw", "data/raw/slides"] {
            let mode = std::fs::Permissions::from_mode(0o555);
            std::fs::set_permissions(place.0.path().join(folder), mode).unwrap();
        }
    }
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("hint:") && err.contains("data/raw"), "{err}");
    assert_eq!(Manifest::read(&place.raw()).unwrap().slides.len(), 1);
}

fn a_folder_that_may_not_be_opened_costs_a_line() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    place.write("in/deck.pdf", &support::deck(32, 1));
    place.write("in/closed/deck.pdf", &support::deck(33, 1));
    place.write("in/secret.dat", b"\0\x01\x02");
    let allow = |name: &str, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.0.path().join(name), mode).unwrap();
    };
    allow("in/secret.dat", 0o000);
    allow("in/closed", 0o000);
    let mut command = place.command(&["in", "--json"]);
    if is_root() {
        // Permissions do not bind root: run as nobody.
        allow("", 0o777);
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    allow("in/closed", 0o755);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["seen"], &report["collected"]), (&3.into(), &1.into()), "{report:#}");
    let passed = report["passed_over"].to_string();
    assert!(passed.contains("in/closed") && passed.contains("permission denied"), "{passed}");
    assert!(passed.contains("in/secret.dat") && passed.contains("cannot be opened"), "{passed}");
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn a_full_disk_stops_the_run_and_leaves_a_whole_store() {
    let place = Place::new();
    for seed in 0..12 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(40 + seed, 8));
    }
    let disk = SmallDisk::at(&place.0.path().join("data"), "300k");
    let (code, _, err) = place.run(&["in"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("hint:") && err.contains("space"), "{err}");
    disk.resize("64m");
    assert_eq!(place.run(&["verify"]).0, Some(0));
    assert_eq!(place.json(&["in", "--json"])["slides"], 96);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

fn a_full_disk_stops_shards_and_their_merge_and_loses_nothing() {
    let place = Place::new();
    for seed in 0..4 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(150 + seed, 8));
    }
    let disk = SmallDisk::at(&place.raw(), "64m");
    let shard = |number: usize| place.run(&["--shard", &format!("{number}/2"), "in"]);
    let full = |(code, _, err): (Option<i32>, String, String)| {
        assert!(code == Some(2) && err.contains("hint:") && err.contains("space"), "{code:?} {err}");
    };
    assert_eq!(shard(0).0, Some(0));
    disk.fill();
    full(shard(1));
    let (code, out, _) = place.run(&["merge", "in"]);
    assert!(code == Some(2) || code == Some(1) && out.contains("Run again: 1 "), "{code:?} {out}");
    disk.make_room();
    assert_eq!(shard(1).0, Some(0));
    disk.fill();
    full(place.run(&["merge", "in"]));
    disk.make_room();
    let (code, _, err) = place.run(&["merge", "in"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(Manifest::read(&place.raw()).unwrap().slides.len(), 32);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

/// `script` gives the command a terminal.
fn a_terminal_gets_a_progress_bar() {
    let place = Place::new();
    for seed in 0..4 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(130 + seed, 8));
    }
    let line = format!("{} in", env!("CARGO_BIN_EXE_pq-collect"));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(place.0.path()).stdin(Stdio::null());
    let mut child = script.stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = String::new();
    for part in BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
        shown += &String::from_utf8_lossy(&part);
    }
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("slides") && shown.contains("/32"), "{shown}");
}
