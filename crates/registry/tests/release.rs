//! The registry in a folder: releasing, going back, surviving damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use registry::{CardFacts, Error, Lineage, Registry, ValidationSummary};

fn run_dir(dir: &Path, name: &str, adapter: &[u8]) -> std::path::PathBuf {
    let run = dir.join(name);
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("adapter_config.json"), "{}").unwrap();
    std::fs::write(run.join("adapter_model.safetensors"), adapter).unwrap();
    let results = r#"{"human_agreement":0.9,"passes_threshold":true,"metrics":{"overall_mae":0.4}}"#;
    std::fs::write(run.join("validation_results.json"), results).unwrap();
    run
}

fn release(registry: &Registry, run: &Path) -> String {
    let results = ValidationSummary::read(run).unwrap();
    let lineage = Lineage { base_model: "a/b".to_owned(), ..Lineage::default() };
    let plan =
        registry.plan(run, &results, lineage, &CardFacts::default(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    registry.release(&plan, None).unwrap().version
}

#[test]
fn versions_count_up_and_rollback_swaps_the_aliases() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry")).unwrap();
    assert_eq!(release(&registry, &run_dir(dir.path(), "r1", b"one")), "v1");
    assert_eq!(release(&registry, &run_dir(dir.path(), "r2", b"two")), "v2");
    assert_eq!(registry.put_in_use(None, None).unwrap().version, "v1");
    let versions = registry.versions().unwrap();
    assert_eq!(versions.champion().unwrap().run_id, "r1");
    assert_eq!(versions.aliases.previous.as_deref(), Some("v2"));
    assert_eq!(versions.release("v2").unwrap().lineage.parent.as_deref(), Some("v1"));
    assert_eq!(versions.next_version(), "v3", "a version's name is never given twice");
    assert!(registry.verify().unwrap().is_empty());
}

#[test]
fn a_damaged_version_is_found_and_not_put_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry")).unwrap();
    release(&registry, &run_dir(dir.path(), "r1", b"one"));
    release(&registry, &run_dir(dir.path(), "r2", b"two"));
    std::fs::write(registry.version_dir("v1").join("adapter_model.safetensors"), b"oops").unwrap();
    assert_eq!(registry.verify().unwrap().len(), 1);
    assert!(matches!(registry.put_in_use(Some("v1"), None), Err(Error::Corrupt { .. })));
    assert_eq!(registry.versions().unwrap().version.as_deref(), Some("v2"));
    assert!(matches!(registry.put_in_use(Some("v9"), None), Err(Error::UnknownVersion { .. })));
}

#[test]
fn two_commands_cannot_have_the_registry_open() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Registry::open(dir.path()).unwrap();
    assert!(matches!(Registry::open(dir.path()), Err(Error::Io { .. })));
}

#[test]
fn results_of_another_adapter_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_dir(dir.path(), "r1", b"one");
    let results = r#"{"human_agreement":0.9,"passes_threshold":true,"metrics":{},"inputs":{"adapter_model.safetensors":"00"}}"#;
    std::fs::write(run.join("validation_results.json"), results).unwrap();
    assert!(matches!(ValidationSummary::read(&run), Err(Error::StaleValidation { .. })));
    std::fs::remove_file(run.join("validation_results.json")).unwrap();
    assert!(matches!(ValidationSummary::read(&run), Err(Error::Missing { .. })));
}
