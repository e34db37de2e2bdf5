//! The cache is read both ways: by `hf-hub`, and by the official Python client where that is at hand.
#![cfg(feature = "download")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo, RepoType};
use hub_client::{HubOptions, fetch, fetch_with};
use support::{CONFIG, FakeHub, quick, weights};

fn offline(hub: &FakeHub, cache: &Path) -> HubOptions {
    HubOptions { offline: true, ..hub.options(cache) }
}

#[test]
fn hf_hub_reads_what_we_cached() {
    let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
    let folder = fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap();
    let theirs = Cache::new(cache.path().to_owned()).repo(Repo::new("o/n".to_owned(), RepoType::Model));
    for (file, content) in [("config.json", CONFIG.to_vec()), ("model.safetensors", weights())] {
        let path = theirs.get(file).unwrap();
        assert_eq!(path, folder.join(file));
        assert_eq!(std::fs::read(path).unwrap(), content);
    }
}

#[test]
fn we_read_what_hf_hub_cached() {
    let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
    let builder = ApiBuilder::from_cache(Cache::new(cache.path().to_owned()));
    let api = builder.with_endpoint(hub.server.base.clone()).with_progress(false).build().unwrap();
    let theirs = api.model("o/n".to_owned());
    theirs.get("config.json").unwrap();
    let path = theirs.get("model.safetensors").unwrap();
    let folder = fetch("o/n", None, &offline(&hub, cache.path())).unwrap();
    assert_eq!(folder.join("model.safetensors"), path);
    hub.storage.take();
    assert_eq!(fetch("o/n", None, &hub.options(cache.path())).unwrap(), folder);
    assert!(hub.storage.requests().is_empty(), "what they fetched is not fetched again");
}

/// Runs a script with the Python that `HUB_CLIENT_PYTHON` names.
fn python(hub: &FakeHub, cache: &Path, is_offline: bool) -> String {
    let python = std::env::var("HUB_CLIENT_PYTHON").unwrap();
    let script = "import sys; from huggingface_hub import snapshot_download as get; \
                  print(get('o/n', cache_dir=sys.argv[1], local_files_only=sys.argv[2] == 'offline', \
                  allow_patterns=['*.json', '*.safetensors']))";
    let output = Command::new(python)
        .args(["-c", script, &cache.display().to_string(), if is_offline { "offline" } else { "online" }])
        .env("HF_ENDPOINT", &hub.server.base)
        .env("HF_HOME", cache.join("home"))
        .env("HF_HUB_DISABLE_XET", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "needs HUB_CLIENT_PYTHON, a Python with huggingface_hub"]
fn the_python_client_reads_what_we_cached() {
    let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
    let folder = fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap();
    assert_eq!(python(&hub, cache.path(), true), folder.display().to_string());
}

#[test]
#[ignore = "needs HUB_CLIENT_PYTHON, a Python with huggingface_hub"]
fn we_read_what_the_python_client_cached() {
    let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
    let folder = python(&hub, cache.path(), false);
    hub.storage.take();
    assert_eq!(fetch("o/n", None, &offline(&hub, cache.path())).unwrap().display().to_string(), folder);
    assert_eq!(fetch("o/n", None, &hub.options(cache.path())).unwrap().display().to_string(), folder);
    assert!(hub.storage.requests().is_empty(), "what they fetched is not fetched again");
}
