//! A bucket as the place of versions, through the command, at a program that stands in for S3.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use pq_testing::adverse;
use test_server::moto::Moto;

mod validated;

use validated::{command, project, register, train_again};

const SECRET: &str = "bucket-secret-0123456789";

/// What the command says with the bucket's keys in its environment, after it ended with this status.
fn said(dir: &Path, moto: &Moto, args: &[&str], status: i32) -> String {
    let bucket = ["--set", "registry.bucket=s3://rater/slides", "--set", "registry.license=mit"];
    let mut command = command(dir, &[&bucket[..], args].concat());
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", SECRET);
    let output = command.env("AWS_ENDPOINT_URL", &moto.base).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    assert!(!text.contains(SECRET), "{args:?}: {text}");
    text
}

fn weights(dir: &Path, version: &str) -> Vec<u8> {
    std::fs::read(dir.join("model_registry/versions").join(version).join("adapter_model.safetensors"))
        .unwrap()
}

fn a_version_goes_to_a_bucket_and_comes_back_in_another_folder() {
    let moto = Moto::start();
    moto.bucket("rater");
    let dir = project(0.4);
    let run = |args: &[&str], status: i32| said(dir.path(), &moto, args, status);
    assert!(run(&["--reason", "the first one"], 0).contains("v1.0.0 released"));
    train_again(dir.path(), "two");
    assert!(run(&[], 0).contains("v1.0.1 released"));
    run(&["verify"], 0);
    assert!(run(&["doctor"], 0).contains("everything fits together"));
    assert!(run(&["rollback", "--reason", "worse on charts"], 0).contains("v1.0.0 is in use"));
    assert!(run(&["promote", "v1.0.1"], 0).contains("v1.0.1 is in use"));
    assert!(run(&["push"], 0).contains("the Hub has everything"));

    let other = tempfile::tempdir().unwrap();
    for version in ["v1.0.0", "v1.0.1"] {
        assert!(said(other.path(), &moto, &["fetch", version], 0).contains(version));
        assert_eq!(weights(other.path(), version), weights(dir.path(), version));
    }
    said(other.path(), &moto, &["verify"], 0);
    said(other.path(), &moto, &["doctor", "--repair"], 0);
    let live = said(other.path(), &moto, &["live"], 0);
    assert!(live.starts_with("v1.0.1 since"), "{live}");
    // What is lost here comes from there.
    std::fs::remove_file(dir.path().join("model_registry/versions/v1.0.0/adapter_model.safetensors"))
        .unwrap();
    assert!(run(&["verify"], 1).contains("adapter_model.safetensors"));
    run(&["fetch", "v1.0.0"], 0);
    run(&["verify"], 0);
    let leaks = adverse::leaks(dir.path(), &[SECRET], &[]);
    assert!(leaks.is_empty(), "{leaks:?}");
}

fn what_the_bucket_needs_is_named() {
    let moto = Moto::start();
    let dir = project(0.4);
    let set = ["--set", "registry.bucket=s3://rater", "--set", "registry.license=mit"];
    let mut keyless = command(dir.path(), &set);
    keyless.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let output = keyless.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    let text = said(dir.path(), &moto, &[], 2);
    assert!(text.contains("rater") && text.contains("NoSuchBucket"), "there is no such bucket: {text}");
    let both = ["--set", "registry.huggingface_repo=team/rater"];
    assert!(said(dir.path(), &moto, &both, 2).contains("both set"));
    assert!(!dir.path().join("model_registry/version.json").exists());
    assert_eq!(register(dir.path(), &["--local"]).0, 0);
}

pq_testing::tests! {
    a_version_goes_to_a_bucket_and_comes_back_in_another_folder: needs Moto;
    what_the_bucket_needs_is_named: needs Moto;
}
