//! The Hub beside the folder: going back while it is away, pushing later, fetching, mending.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use registry::{Error, Event, Place, Registry};
use support::{REPO, by, layout, place, release, run};
use test_server::hub::{FakeHub, Fault, Repository};
use test_server::{Answer, text};

#[test]
fn going_back_does_not_wait_for_the_hub() {
    let answers: [fn() -> Answer; 3] =
        [|| text(403, "no"), || text(500, "broken"), || Answer::Hang(Duration::from_secs(30))];
    for answer in answers {
        let fake = FakeHub::start();
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(&layout(dir.path()));
        let hub = place(&fake, None);
        for (name, adapter) in [("r1", b"one"), ("r2", b"two")] {
            release(&registry, &run(name, adapter).write(dir.path()), Some(&hub), true).unwrap();
        }
        fake.on_request(move |_| Fault::Instead(answer()));
        let begun = Instant::now();
        let mut writer = registry.write(by()).unwrap();
        writer.promote(None, Event::RolledBack).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(registry.versions().unwrap().version.as_deref(), Some("v1.0.0"));
        let stopped = begun;
        let impatient =
            place(&fake, Some(std::sync::Arc::new(move || stopped.elapsed() > Duration::from_secs(2))));
        assert!(writer.push(&impatient).is_err());
        drop(writer);
        fake.heal();
        let served = fake.repository(REPO).tree("main").unwrap();
        assert_eq!(served["adapter_model.safetensors"], b"two");
        let findings = registry.examine(Some(&hub)).unwrap();
        assert!(findings.len() == 1 && findings[0].text.contains("the Hub serves v1.0.1"), "{findings:?}");
        assert!(registry.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
        let repository = fake.repository(REPO);
        assert!(repository.tree("main") == repository.tree("v1.0.0"), "with nothing of the other version");
    }
}

#[test]
fn what_was_released_locally_is_pushed_later() {
    let fake = FakeHub::start();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    for (name, adapter) in [("r1", b"one"), ("r2", b"two")] {
        release(&registry, &run(name, adapter).write(dir.path()), None, true).unwrap();
    }
    let hub = place(&fake, None);
    assert_eq!(registry.examine(Some(&hub)).unwrap().len(), 3);
    let done = registry.write(by()).unwrap().push(&hub).unwrap();
    assert_eq!(done, ["v1.0.0 was pushed", "v1.0.1 was pushed", "the Hub serves v1.0.1"]);
    assert!(registry.write(by()).unwrap().push(&hub).unwrap().is_empty(), "any number of times");
    assert!(registry.examine(Some(&hub)).unwrap().is_empty());
    assert_eq!(fake.repository(REPO).commits.len(), 4);
}

#[test]
fn another_repository_gets_the_version_in_use() {
    let fake = FakeHub::start();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let hub = place(&fake, None);
    for (name, adapter) in [("r1", b"one"), ("r2", b"two")] {
        release(&registry, &run(name, adapter).write(dir.path()), Some(&hub), true).unwrap();
    }
    let other = support::place_of(&fake, "team/other", None);
    let done = registry.write(by()).unwrap().push(&other).unwrap();
    assert_eq!(done, ["the Hub serves v1.0.1"]);
    assert!(fake.repository("team/other").tree("main") == fake.repository(REPO).tree("main"));
    assert!(registry.write(by()).unwrap().repair(Some(&other)).unwrap().is_empty());
    assert_eq!(fake.repository("team/other").tags.len(), 2);
}

#[test]
fn versions_come_back_from_the_hub() {
    let fake = FakeHub::start();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let hub = place(&fake, None);
    let first = release(&registry, &run("r1", b"one").write(dir.path()), Some(&hub), true).unwrap().release;
    release(&registry, &run("r2", b"two").write(dir.path()), Some(&hub), true).unwrap();

    let other = tempfile::tempdir().unwrap();
    let elsewhere = Registry::new(&layout(other.path()));
    let fetched = elsewhere.write(by()).unwrap().fetch(&hub, "v1.0.0").unwrap();
    assert_eq!((fetched.id, fetched.hub), (first.id.clone(), first.hub.clone()));
    assert!(elsewhere.verify().unwrap().is_empty(), "what stays on a team's machines may be missing");
    assert_eq!(elsewhere.versions().unwrap().version, None, "it is not put in use");
    let later = elsewhere.write(by()).unwrap().promote(Some("v1.0.0"), Event::Promoted).unwrap();
    assert_eq!(later.id, first.id);
    let error = elsewhere.write(by()).unwrap().push(&hub).unwrap_err();
    assert!(matches!(&error, Error::Ahead { version, .. } if version == "v1.0.1"), "{error:?}");

    std::fs::remove_dir_all(registry.version_dir("v1.0.0")).unwrap();
    assert_eq!(registry.examine(Some(&hub)).unwrap().len(), 1);
    assert!(registry.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
    std::fs::write(registry.version_dir("v1.0.0").join("run.json"), "{}").unwrap();
    assert!(registry.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
    assert!(registry.verify().unwrap().is_empty());
    assert!(matches!(registry.write(by()).unwrap().fetch(&hub, "v7.0.0"), Err(Error::NoVersion { .. })));
}

#[test]
fn a_lost_registry_finds_its_versions_again_and_counts_on() {
    let fake = FakeHub::start();
    let (dir, lost) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = place(&fake, None);
    release(&Registry::new(&layout(lost.path())), &run("r1", b"one").write(lost.path()), Some(&hub), true)
        .unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let findings = registry.examine(Some(&hub)).unwrap();
    assert!(findings.iter().any(|finding| finding.text.contains("the Hub has v1.0.0")), "{findings:?}");
    registry.write(by()).unwrap().repair(Some(&hub)).unwrap();
    assert_eq!(registry.versions().unwrap().history.len(), 1);
    let next = release(&registry, &run("r2", b"two").write(dir.path()), Some(&hub), true).unwrap().release;
    assert_eq!(next.version, "v1.0.1");
}

#[test]
fn a_version_that_lies_nowhere_is_struck_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    for (name, adapter) in [("r1", b"one"), ("r2", b"two")] {
        release(&registry, &run(name, adapter).write(dir.path()), None, true).unwrap();
    }
    std::fs::remove_dir_all(registry.version_dir("v1.0.1")).unwrap();
    assert!(registry.write(by()).unwrap().repair(None).unwrap().is_empty());
    let versions = registry.versions().unwrap();
    assert_eq!((versions.history.len(), versions.version.as_deref()), (1, Some("v1.0.0")));
    let next = release(&registry, &run("r3", b"333").write(dir.path()), None, true).unwrap().release;
    assert_eq!(next.version, "v1.0.2", "a number is never given twice");
    for version in ["v1.0.0", "v1.0.2"] {
        std::fs::remove_dir_all(registry.version_dir(version)).unwrap();
    }
    assert!(registry.write(by()).unwrap().repair(None).unwrap().is_empty());
    let versions = registry.versions().unwrap();
    assert!(versions.history.is_empty() && versions.version.is_none(), "{versions:?}");
}

#[test]
fn a_release_that_was_begun_can_be_given_up() {
    let fake = FakeHub::start();
    let dir = tempfile::tempdir().unwrap();
    let hub = place(&fake, None);
    let run = run("r1", b"one").write(dir.path());
    let registry = Registry::new(&layout(dir.path()));
    // The first request at the tag: everything lies on the branch.
    fake.on_request(|request| {
        if request.path.contains("/tag/") { Fault::Instead(text(403, "no")) } else { Fault::None }
    });
    assert!(release(&registry, &run, Some(&hub), true).is_err());
    fake.heal();
    assert_eq!(fake_branches(&fake), ["main", "release-v1.0.0"]);
    assert_eq!(registry.write(by()).unwrap().abandon(Some(&hub)).unwrap(), ["v1.0.0"]);
    assert_eq!(fake_branches(&fake), ["main"]);
    assert!(registry.unfinished().unwrap().is_empty() && registry.verify().unwrap().is_empty());
    assert!(registry.examine(Some(&hub)).unwrap().is_empty());
    assert!(fake.repository(REPO).served.is_empty());
}

fn fake_branches(fake: &FakeHub) -> Vec<String> {
    fake.repository(REPO).branches.into_keys().collect()
}

#[test]
fn a_public_repository_gets_nothing_that_shall_be_private() {
    let fake = FakeHub::start();
    fake.change(|state| _ = state.repositories.insert(REPO.to_owned(), Repository::new(false)));
    let dir = tempfile::tempdir().unwrap();
    let hub = place(&fake, None);
    let run = run("r1", b"one").write(dir.path());
    let error = release(&Registry::new(&layout(dir.path())), &run, Some(&hub), true).unwrap_err();
    assert!(matches!(error, Error::Hub(registry::hub::Error::Public { .. })), "{error:?}");
    assert_eq!(fake.repository(REPO).commits.len(), 1);
    assert!(fake.server.asked("PUT", "").is_empty() && fake.storage.requests().is_empty());
}

#[test]
fn places_tell_by_themselves_how_far_a_release_has_come() {
    let fake = FakeHub::start();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let hub = place(&fake, None);
    let outcome = release(&registry, &run("r1", b"one").write(dir.path()), None, true).unwrap();
    let folder = registry.folder();
    let bundle = folder.load(&outcome.release.version).unwrap();
    assert_eq!(folder.stage(&bundle).unwrap(), registry::Stage::Live);
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Absent);
    hub.store(&bundle).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Stored);
    assert_eq!(hub.live().unwrap(), None);
    hub.name(&bundle).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Named);
    hub.make_live(&bundle).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Live);
    assert_eq!(hub.live().unwrap().as_deref(), Some("v1.0.0"));
    let loaded = hub.load("v1").unwrap();
    assert_eq!(
        loaded.files.len() + 2,
        bundle.files.len(),
        "all but the report and the predictions of the test"
    );
}
