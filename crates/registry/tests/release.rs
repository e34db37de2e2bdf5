//! The registry in a folder: releasing, going back, surviving damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use project_files::{Baseline, Contract as _, Layout, RunFiles, Storage};
use registry::{CardFacts, Error, Lineage, Registry, ValidationResults, hash_file, validated};

fn layout(dir: &Path) -> Layout {
    let storage = Storage { registry_dir: dir.join("registry"), ..Storage::default() };
    Layout::new(&storage, &dir.join("outputs"))
}

fn run_dir(dir: &Path, name: &str, adapter: &[u8]) -> RunFiles {
    let run = layout(dir).run(name);
    std::fs::create_dir_all(run.dir()).unwrap();
    for (path, content) in [
        (run.adapter_config(), &b"{}"[..]),
        (run.adapter_weights(), adapter),
        (run.config(), b"[model]"),
        (run.record(), b"{}"),
    ] {
        std::fs::write(path, content).unwrap();
    }
    let mut results = ValidationResults {
        schema_version: 1,
        human_agreement: 0.9,
        passes_threshold: true,
        baseline: Some(Baseline {
            chosen_on: "train".to_owned(),
            constants: [].into(),
            metrics: [("overall_mae".to_owned(), 1.0)].into(),
            mae_gain: 0.6,
            mae_gain_interval: None,
        }),
        ..ValidationResults::default()
    };
    results.metrics.insert("overall_mae".to_owned(), 0.4);
    for path in [run.adapter_config(), run.adapter_weights(), run.config()] {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        results.inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    results.write(&run.validation()).unwrap();
    run
}

fn release(registry: &Registry, run: &RunFiles) -> String {
    let results = validated(run).unwrap();
    let lineage = Lineage { base_model: "a/b".to_owned(), ..Lineage::default() };
    let plan =
        registry.plan(run, &results, lineage, &CardFacts::default(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    registry.release(&plan, None).unwrap().version
}

#[test]
fn versions_count_up_and_rollback_swaps_the_aliases() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&layout(dir.path())).unwrap();
    assert_eq!(release(&registry, &run_dir(dir.path(), "r1", b"one")), "v1");
    assert_eq!(release(&registry, &run_dir(dir.path(), "r2", b"two")), "v2");
    assert_eq!(registry.promote(None, None).unwrap().version, "v1");
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
    let registry = Registry::open(&layout(dir.path())).unwrap();
    release(&registry, &run_dir(dir.path(), "r1", b"one"));
    release(&registry, &run_dir(dir.path(), "r2", b"two"));
    std::fs::write(registry.version_dir("v1").join("adapter_model.safetensors"), b"oops").unwrap();
    assert_eq!(registry.verify().unwrap().len(), 1);
    assert!(matches!(registry.promote(Some("v1"), None), Err(Error::Corrupt { .. })));
    assert_eq!(registry.versions().unwrap().version.as_deref(), Some("v2"));
    assert!(matches!(
        registry.promote(Some("v9"), None),
        Err(Error::Contract(project_files::Error::UnknownVersion { .. }))
    ));
}

#[test]
fn two_commands_cannot_have_the_registry_open() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Registry::open(&layout(dir.path())).unwrap();
    assert!(matches!(Registry::open(&layout(dir.path())), Err(Error::Busy { .. })));
}

#[test]
fn results_of_another_adapter_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_dir(dir.path(), "r1", b"one");
    assert!(validated(&run).is_ok());
    for path in [run.adapter_config(), run.adapter_weights(), run.config()] {
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, "other").unwrap();
        assert!(matches!(validated(&run), Err(Error::StaleValidation { .. })), "{}", path.display());
        std::fs::write(&path, before).unwrap();
    }
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    results.inputs.clear();
    results.write(&run.validation()).unwrap();
    assert!(matches!(validated(&run), Err(Error::StaleValidation { .. })), "nothing says what was validated");
    std::fs::remove_file(run.validation()).unwrap();
    assert!(matches!(validated(&run), Err(Error::Missing { .. })));
}
