//! The registry in a folder: releasing, going back, surviving damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use project_files::{Contract as _, VersionFile};
use registry::{Error, Event, Registry, ValidationResults, validated};
use support::{Run, by, layout, release, run};

fn named(outcome: registry::Result<registry::Outcome>) -> String {
    outcome.unwrap().release.version
}

#[test]
fn the_number_says_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let first = run("r1", b"one");
    for (run, version) in [
        (first, "v1.0.0"),
        (Run { name: "r2", adapter: b"two", ..first }, "v1.0.1"),
        (Run { name: "r3", adapter: b"three", labels: "12", ..first }, "v1.1.0"),
        (
            Run {
                name: "r4",
                adapter: b"four",
                labels: "12",
                config: "[rubric]\nx = 1\n[training]\nlr = 2\n",
                ..first
            },
            "v1.2.0",
        ),
        (Run { name: "r5", adapter: b"five", base: "sha256-tensors-v1:99", ..first }, "v2.0.0"),
        (Run { name: "r6", adapter: b"six", config: "[rubric]\nx = 2\n", ..first }, "v3.0.0"),
    ] {
        assert_eq!(named(release(&registry, &run.write(dir.path()), None, true)), version);
    }
    assert_eq!(named(release(&registry, &first.write(dir.path()), None, true)), "v1.0.0", "nothing to do");
    assert_eq!(registry.versions().unwrap().history.len(), 6);
    assert!(registry.verify().unwrap().is_empty());
    assert!(registry.examine(None).unwrap().is_empty());
}

#[test]
fn the_same_adapter_validated_anew_is_another_release() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let run = run("r1", b"one").write(dir.path());
    assert_eq!(named(release(&registry, &run, None, true)), "v1.0.0");
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    results.human_agreement = 0.91;
    results.write(&run.validation()).unwrap();
    assert_eq!(named(release(&registry, &run, None, true)), "v1.0.1");
}

#[test]
fn going_back_is_recorded_and_goes_further_back_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    for (name, adapter) in [("r1", b"one"), ("r2", b"two"), ("r3", b"333")] {
        release(&registry, &run(name, adapter).write(dir.path()), None, true).unwrap();
    }
    let reason = Some("worse on charts".to_owned());
    let mut writer = registry.write(registry::By { who: "bob".to_owned(), reason }).unwrap();
    for version in ["v1.0.1", "v1.0.0"] {
        assert_eq!(writer.promote(None, Event::RolledBack).unwrap().version, version);
        assert_eq!(
            VersionFile::read(&layout(dir.path()).version_file()).unwrap().version.as_deref(),
            Some(version)
        );
    }
    assert!(matches!(writer.promote(None, Event::RolledBack), Err(Error::NothingBefore { .. })));
    assert_eq!(writer.promote(Some("v1"), Event::Promoted).unwrap().version, "v1.0.0", "v1 is v1.0.0");
    drop(writer);
    let journal = registry.journal().unwrap();
    assert_eq!(journal.entries.len(), 5, "what was in use already is not put in use again");
    let last = journal.entries.last().unwrap();
    assert_eq!((last.event, last.who.as_str()), (Event::RolledBack, "bob"));
    assert_eq!((last.before.as_deref(), last.live.as_deref()), (Some("v1.0.1"), Some("v1.0.0")));
    assert_eq!(last.reason.as_deref(), Some("worse on charts"));
    assert_eq!(registry.live_at(journal.entries[2].at).unwrap().unwrap().live.as_deref(), Some("v1.0.2"));
    assert!(registry.live_at(jiff::Timestamp::UNIX_EPOCH).unwrap().is_none());
}

#[test]
fn a_release_may_wait_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    release(&registry, &run("r1", b"one").write(dir.path()), None, true).unwrap();
    release(&registry, &run("r2", b"two").write(dir.path()), None, false).unwrap();
    assert_eq!(registry.versions().unwrap().version.as_deref(), Some("v1.0.0"));
    let mut writer = registry.write(by()).unwrap();
    assert_eq!(writer.promote(Some("v1.0.1"), Event::Promoted).unwrap().run_id, "r2");
    assert_eq!(writer.versions().aliases.previous.as_deref(), Some("v1.0.0"));
}

#[test]
fn a_damaged_version_is_found_and_not_put_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    release(&registry, &run("r1", b"one").write(dir.path()), None, true).unwrap();
    release(&registry, &run("r2", b"two").write(dir.path()), None, true).unwrap();
    let stored = registry.version_dir("v1.0.0");
    std::fs::write(stored.join("adapter_model.safetensors"), b"oops").unwrap();
    std::fs::write(stored.join("pytorch_model.bin"), b"more").unwrap();
    let problems = registry.verify().unwrap();
    assert!(problems.len() == 1 && problems[0].contains("`pytorch_model.bin` was added"), "{problems:?}");
    let mut writer = registry.write(by()).unwrap();
    assert!(matches!(
        writer.promote(Some("v1.0.0"), Event::Promoted),
        Err(Error::Contract(project_files::Error::NotReleased { .. }))
    ));
    assert!(matches!(
        writer.promote(Some("v9"), Event::Promoted),
        Err(Error::Contract(project_files::Error::UnknownVersion { .. }))
    ));
    assert_eq!(registry.versions().unwrap().version.as_deref(), Some("v1.0.1"));
}

#[test]
fn writers_keep_each_other_out_and_readers_are_not_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    assert!(registry.verify().unwrap().is_empty());
    assert!(!layout(dir.path()).registry().exists(), "readers write nothing");
    let _first = registry.write(by()).unwrap();
    assert!(matches!(registry.write(by()), Err(Error::Busy { .. })));
    assert!(registry.versions().is_ok() && registry.journal().is_ok() && registry.verify().is_ok());
}

#[cfg(unix)]
#[test]
fn the_lock_lies_where_the_files_lie() {
    let shared = tempfile::tempdir().unwrap();
    let checkouts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let registries = checkouts.each_ref().map(|dir| {
        let layout = layout(dir.path());
        std::fs::create_dir_all(layout.registry()).unwrap();
        std::os::unix::fs::symlink(shared.path(), layout.versions()).unwrap();
        Registry::new(&layout)
    });
    let _first = registries[0].write(by()).unwrap();
    assert!(matches!(registries[1].write(by()), Err(Error::Busy { .. })));
}

#[test]
fn an_old_version_file_costs_no_version() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let registry = Registry::new(&layout);
    release(&registry, &run("r1", b"one").write(dir.path()), None, true).unwrap();
    let old =
        [layout.version_file(), layout.registry_journal()].map(|path| (std::fs::read(&path).unwrap(), path));
    release(&registry, &run("r2", b"two").write(dir.path()), None, true).unwrap();
    let third = run("r3", b"333").write(dir.path());

    // version.json alone is old: the journal knows better.
    std::fs::write(&old[0].1, &old[0].0).unwrap();
    assert_eq!(named(release(&registry, &third, None, true)), "v1.0.2");
    assert_eq!(registry.versions().unwrap().history.len(), 3);

    // Both are old: what lies there is neither overwritten nor forgotten.
    for (content, path) in &old {
        std::fs::write(path, content).unwrap();
    }
    let before = std::fs::read(registry.version_dir("v1.0.1").join("adapter_model.safetensors")).unwrap();
    let fourth = run("r4", b"4444").write(dir.path());
    assert!(matches!(release(&registry, &fourth, None, true), Err(Error::Unfinished { .. })));
    assert_eq!(registry.write(by()).unwrap().resume(None, true).unwrap().len(), 2);
    assert_eq!(named(release(&registry, &fourth, None, true)), "v1.0.3");
    assert_eq!(
        std::fs::read(registry.version_dir("v1.0.1").join("adapter_model.safetensors")).unwrap(),
        before
    );
    assert!(registry.verify().unwrap().is_empty());
}

#[test]
fn a_registry_of_an_earlier_program_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let old = run("r1", b"one").write(dir.path());
    let stored = layout.version("v1");
    support::copy(old.dir(), stored.dir());
    std::fs::write(stored.card(), "# card").unwrap();
    let mut files = serde_json::Map::new();
    for path in support::files(stored.dir()).into_iter().filter(|path| !path.ends_with("README.md")) {
        let hash = registry::hash_file(&path).unwrap();
        files.insert(
            path.file_name().unwrap().to_string_lossy().into_owned(),
            serde_json::to_value(hash).unwrap(),
        );
    }
    let inputs = project_files::RunRecord::read(&old.record()).unwrap().inputs;
    let versions = serde_json::json!({
        "schema_version": 1, "version": "v1", "aliases": {"champion": "v1"},
        "history": [{"version": "v1", "released_at": "2026-01-02T03:04:05Z", "run_id": "r1", "human_agreement": 0.9,
            "metrics": {"overall_mae": 0.4}, "files": files, "lineage": {"base_model": "a/b", "inputs": inputs}}]
    });
    std::fs::write(layout.version_file(), versions.to_string()).unwrap();
    let registry = Registry::new(&layout);
    assert!(registry.verify().unwrap().is_empty());
    assert_eq!(
        registry.live_at("2026-01-03T00:00:00Z".parse().unwrap()).unwrap().unwrap().live.as_deref(),
        Some("v1")
    );
    assert!(!layout.registry_journal().exists(), "reading writes nothing");
    assert_eq!(named(release(&registry, &run("r2", b"two").write(dir.path()), None, true)), "v1.0.1");
    assert_eq!(registry.journal().unwrap().entries.len(), 2);
    let mut writer = registry.write(by()).unwrap();
    assert_eq!(writer.promote(Some("v1.0.0"), Event::RolledBack).unwrap().version, "v1");
    std::fs::write(stored.adapter_weights(), "other").unwrap();
    assert_eq!(registry.verify().unwrap().len(), 1);
}

#[test]
fn results_of_other_files_another_base_or_unnamed_data_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = run("r1", b"one").write(dir.path());
    assert!(validated(&run).is_ok());
    let is_refused = |run| matches!(validated(run), Err(Error::StaleValidation { .. }));
    for path in ValidationResults::of_a_run(&run) {
        let before = std::fs::read(&path).unwrap();
        let mut changed = before.clone();
        changed.push(b' ');
        std::fs::write(&path, changed).unwrap();
        assert!(is_refused(&run), "{}", path.display());
        std::fs::write(&path, before).unwrap();
    }
    let whole = ValidationResults::read(&run.validation()).unwrap();
    for name in whole.inputs.keys() {
        let mut results = whole.clone();
        results.inputs.remove(name);
        results.write(&run.validation()).unwrap();
        assert!(is_refused(&run), "nothing is said of {name}");
    }
    let mut results = whole.clone();
    results.inputs.insert("base_model".to_owned(), "sha256-tensors-v1:other".to_owned());
    results.write(&run.validation()).unwrap();
    assert!(is_refused(&run), "another base");
    std::fs::remove_file(run.validation()).unwrap();
    assert!(matches!(validated(&run), Err(Error::Missing { .. })));
}
