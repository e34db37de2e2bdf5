//! A full disk and a folder that may not be written, which take rights that not everybody has.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use common::{Client, Server, Site};
use pq_testing::SmallDisk;
use serde_json::{Value, json};

pq_testing::tests! {
    on_a_full_disk_no_rating_is_acknowledged_and_none_is_half_written: needs FullDisk;
    without_permission_to_write_it_says_which_file_and_changes_nothing: needs OtherUser;
}

fn rating(id: &str, slide: &str, who: &str) -> Value {
    json!({"id": id, "kind": "rated", "slide_id": slide, "annotator": who, "scores": {"clarity": 4, "design": 2}})
}

fn on_a_full_disk_no_rating_is_acknowledged_and_none_is_half_written() {
    let site = Site::new(1, 3, "");
    let disk = SmallDisk::at(&site.data().join("labeled"), "512k");
    let mut server = Server::start(&site, &["--port", "0"]);
    let ana = Client::sign_in(&server.url, "Ana").unwrap();
    assert_eq!(ana.post("/events", &rating("e1", "deck0-001", "Ana")).unwrap().0, 200);
    disk.fill();
    let mut long = rating("e2", "deck0-002", "Ana");
    long["notes"] = json!("x".repeat(9000)); // longer than the room that is left in the last page
    for _ in 0..3 {
        let (status, answer) = ana.post("/events", &long).unwrap();
        assert_eq!((status, &answer["error"]), (503, &json!("not_saved")), "{answer}");
    }
    assert_eq!(site.events().len(), 1);
    disk.make_room();
    assert_eq!(ana.post("/events", &long).unwrap().0, 200, "the same server goes on");
    assert_eq!(site.events().len(), 2);
    assert_eq!(server.stop(), 0);
    assert_eq!(site.run(&["verify"]).0, 0);
}

/// A folder that the program may not write to, as somebody who is not root.
fn without_permission_to_write_it_says_which_file_and_changes_nothing() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let site = Site::new(1, 1, "");
    let labeled = site.data().join("labeled");
    std::fs::create_dir_all(&labeled).unwrap();
    let set = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(site.dir.path(), 0o755);
    set(&labeled, 0o555);
    std::fs::write(site.dir.path().join("r.csv"), "slide_id,clarity\ndeck0-001,4\n").unwrap();
    for arguments in [&["--port", "0"][..], &["import", "r.csv"], &["invite", "Ana"]] {
        let mut command = site.command(arguments);
        if std::fs::metadata(site.dir.path()).unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && err.contains("labeled"), "{arguments:?}: {err}");
        assert!(err.contains("Permission denied") || err.contains("permission denied"), "{err}");
    }
    set(&labeled, 0o755);
    assert_eq!(std::fs::read_dir(&labeled).unwrap().count(), 0);
}
