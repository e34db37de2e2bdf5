//! `pq-train doctor` says what a machine computes with, with a configuration and without.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_pq-train"))
        .arg("doctor")
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

#[test]
fn the_machine_is_described_for_people_and_for_scripts() {
    let Output { status, stdout, .. } = doctor(&["--set", "model.device=cpu"]);
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{text}");
    for said in
        ["processor", "products in bf16", "threads", "memory", "`model.device = \"cpu\"` computes on cpu ("]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let Output { status, stdout, .. } = doctor(&["--json"]);
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    assert!(status.success(), "{report}");
    assert_eq!(report["device"]["configured"], "auto");
    assert!(report["device"]["used"].is_string() && report["cpu"]["bf16_kernels"][0].is_string(), "{report}");
    assert_eq!(report["gpus"]["in_this_build"], cfg!(feature = "cuda"));
    if report["gpus"]["devices"].as_array().unwrap().is_empty() {
        assert!(report["device"]["used"].as_str().unwrap().starts_with("cpu ("), "{report}");
    }
}

#[test]
fn a_device_that_is_not_there_ends_with_1_and_what_would_help() {
    let Output { status, stdout, .. } = doctor(&["--set", "model.device=cuda:1000"]);
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("computes on nothing") && text.contains("hint: there is no GPU 1000"), "{text}");
}
