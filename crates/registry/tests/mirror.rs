//! The Hub beside the folder: going back while it is away, pushing later, fetching, mending.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry::{Error, Event, Place, Registry};
use support::{Project, REPO, by, layout, place, release, run};
use test_server::hub::{FakeHub, Fault, Repository};
use test_server::{Answer, text};

#[test]
fn going_back_does_not_wait_for_the_hub() {
    let answers: [fn() -> Answer; 3] =
        [|| text(403, "no"), || text(500, "broken"), || Answer::Hang(Duration::from_secs(30))];
    for answer in answers {
        let project = Project::released(&[b"one", b"two"], true);
        project.fake.on_request(move |_| Fault::Instead(answer()));
        let begun = Instant::now();
        let mut writer = project.writer();
        writer.promote(None, Event::RolledBack).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(project.registry.versions().unwrap().version.as_deref(), Some("v1.0.0"));
        let is_over = move || begun.elapsed() > Duration::from_secs(2);
        assert!(writer.push(&place(&project.fake, Some(Arc::new(is_over)))).is_err());
        drop(writer);
        project.fake.heal();
        assert_eq!(project.served().tree("main").unwrap()["adapter_model.safetensors"], b"two");
        let findings = project.registry.examine(Some(&project.hub)).unwrap();
        assert!(findings.len() == 1 && findings[0].text.contains("the Hub serves v1.0.1"), "{findings:?}");
        assert!(project.writer().repair(Some(&project.hub)).unwrap().is_empty());
        let repository = project.served();
        assert!(repository.tree("main") == repository.tree("v1.0.0"), "with nothing of the other version");
    }
}

#[test]
fn what_was_released_locally_is_pushed_later() {
    let Project { fake, hub, registry, dir: _dir } = Project::released(&[b"one", b"two"], false);
    assert_eq!(registry.examine(Some(&hub)).unwrap().len(), 3);
    let done = registry.write(by()).unwrap().push(&hub).unwrap();
    assert_eq!(done, ["v1.0.0 was pushed", "v1.0.1 was pushed", "the Hub serves v1.0.1"]);
    assert!(registry.write(by()).unwrap().push(&hub).unwrap().is_empty(), "any number of times");
    assert!(registry.examine(Some(&hub)).unwrap().is_empty());
    assert_eq!(fake.repository(REPO).commits.len(), 4);
}

#[test]
fn another_repository_gets_the_version_in_use() {
    let project = Project::released(&[b"one", b"two"], true);
    let other = support::place_of(&project.fake, "team/other", None);
    assert_eq!(project.writer().push(&other).unwrap(), ["the Hub serves v1.0.1"]);
    assert!(project.fake.repository("team/other").tree("main") == project.served().tree("main"));
    assert!(project.writer().repair(Some(&other)).unwrap().is_empty());
    assert_eq!(project.fake.repository("team/other").tags.len(), 2);
}

#[test]
fn versions_come_back_from_the_hub() {
    let Project { fake: _fake, hub, registry, dir: _dir } = Project::released(&[b"one", b"two"], true);
    let first = registry.versions().unwrap().release("v1.0.0").unwrap().clone();

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

    // A folder of which nothing is left becomes what is served again.
    let lost = tempfile::tempdir().unwrap();
    let anew = Registry::new(&layout(lost.path()));
    let texts: Vec<String> =
        anew.examine(Some(&hub)).unwrap().into_iter().map(|finding| finding.text).collect();
    assert_eq!(
        texts,
        [
            "the Hub has v1.0.0, and it is not here",
            "the Hub has v1.0.1, and it is not here",
            "nothing is in use here, and the Hub serves v1.0.1"
        ]
    );
    assert!(anew.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
    assert_eq!(anew.versions().unwrap().version.as_deref(), Some("v1.0.1"));
    assert!(anew.verify().unwrap().is_empty());

    std::fs::remove_dir_all(registry.version_dir("v1.0.0")).unwrap();
    assert_eq!(registry.examine(Some(&hub)).unwrap().len(), 1);
    assert!(registry.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
    std::fs::write(registry.version_dir("v1.0.0").join("run.json"), "{}").unwrap();
    assert!(registry.write(by()).unwrap().repair(Some(&hub)).unwrap().is_empty());
    assert!(registry.verify().unwrap().is_empty());
    assert!(matches!(registry.write(by()).unwrap().fetch(&hub, "v7.0.0"), Err(Error::NoVersion { .. })));
}

/// Another registry puts a later version in use between two requests of ours: ours is named, and does not replace it.
#[test]
fn a_later_version_that_is_served_meanwhile_stays() {
    // What the other registry will have brought there by then.
    let later = Project::released(&[b"one", b"two", b"three"], true).served().tree("v1.0.2").unwrap();
    for part in ["/preupload/main", "/commit/main"] {
        let project = Project::released(&[b"one"], true);
        let fake = Arc::new(FakeHub::start());
        fake.change(|state| *state = project.fake.state());
        let (shared, tree, mut is_done) = (Arc::downgrade(&fake), later.clone(), false);
        fake.on_request(move |request| {
            if !is_done && request.path.contains(part) {
                is_done = true;
                shared.upgrade().unwrap().change(|state| {
                    let repository = state.repositories.get_mut(REPO).unwrap();
                    let commit = repository.commit("release-v1.0.2", tree.clone());
                    repository.tags.insert("v1.0.2".to_owned(), commit);
                    repository.branches.remove("release-v1.0.2");
                    repository.commit("main", tree.clone());
                });
            }
            Fault::None
        });
        let hub = place(&fake, None);
        let outcome = release(&project.registry, &project.run("r2", b"ours"), Some(&hub), true).unwrap();
        assert_eq!(outcome.release.version, "v1.0.1", "{part}");
        let is_told = |error: &Error| matches!(error, Error::Ahead { version, .. } if version == "v1.0.2");
        assert!(outcome.pending.as_ref().is_some_and(is_told), "{part}: {:?}", outcome.pending);
        let repository = fake.repository(REPO);
        assert!(repository.tree("main").as_ref() == Some(&later), "{part}: the older version is served");
        assert_eq!(repository.tree("v1.0.1").unwrap()["adapter_model.safetensors"], b"ours", "{part}");
    }
}

/// A tag that somebody removed, and files that somebody put on main.
#[test]
fn what_others_did_on_the_hub_is_seen_and_mended() {
    let project = Project::released(&[b"one", b"two"], true);
    let seen = |part: &str| {
        let findings = project.registry.examine(Some(&project.hub)).unwrap();
        assert!(findings.iter().any(|finding| finding.text.contains(part)), "{part}: {findings:?}");
    };
    let mend = || {
        assert!(project.writer().repair(Some(&project.hub)).unwrap().is_empty());
        let repository = project.served();
        assert!(repository.tree("main") == repository.tree("v1.0.1"));
        assert_eq!(repository.tags.keys().collect::<Vec<_>>(), ["v1.0.0", "v1.0.1"]);
        assert_eq!(repository.branches.len(), 1, "{:?}", repository.branches);
    };
    let change = |change: &dyn Fn(&mut Repository)| {
        project.fake.change(|state| change(state.repositories.get_mut(REPO).unwrap()));
    };
    change(&|repository| drop(repository.tags.remove("v1.0.0")));
    seen("v1.0.0 is not on the Hub");
    mend();
    change(&|repository| {
        let tree = [("README.md".to_owned(), b"# Mine".to_vec())].into();
        repository.commit("main", tree);
    });
    seen("the Hub serves no version");
    mend();
    change(&|repository| {
        let mut tree = repository.tree("main").unwrap();
        tree.insert("pytorch_model.bin".to_owned(), b"x".to_vec());
        repository.commit("main", tree);
    });
    seen("the Hub serves v1.0.1");
    mend();
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
    let Project { registry, dir, .. } = Project::released(&[b"one", b"two"], false);
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
    let Project { fake: _fake, hub, registry, dir: _dir } = Project::released(&[b"one"], false);
    let folder = registry.folder();
    let bundle = folder.load("v1.0.0").unwrap();
    assert_eq!(folder.stage(&bundle).unwrap(), registry::Stage::Live);
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Absent);
    hub.store(&bundle).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Stored);
    assert_eq!(hub.live().unwrap(), None);
    hub.name(&bundle).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Named);
    hub.make_live(&bundle, &|_| Ok(())).unwrap();
    assert_eq!(hub.stage(&bundle).unwrap(), registry::Stage::Live);
    assert_eq!(hub.live().unwrap().as_deref(), Some("v1.0.0"));
    let loaded = hub.load("v1").unwrap();
    assert_eq!(loaded.files.len() + 2, bundle.files.len(), "all but the report and the test predictions");
}
