//! Releases to a Hub that dies at every request, and everything around them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use project_files::{Contract as _, Manifest};
use registry::{Error, Event, HubPlace, Outcome, Registry};
use support::{Killer, REPO, copy, files, layout, place, release, run};
use test_server::hub::{FakeHub, Repository, State};

/// What is there before the release that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    OwnVersion,
    AnotherRegistrys,
}

struct Scene {
    fake: FakeHub,
    killer: std::sync::Arc<Killer>,
    hub: HubPlace,
    state: State,
    start: tempfile::TempDir,
}

impl Scene {
    fn new(before: Before) -> Self {
        let fake = FakeHub::start();
        let start = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let hub = place(&fake, None);
        let first = match before {
            Before::Nothing => None,
            Before::OwnVersion => Some(start.path()),
            Before::AnotherRegistrys => Some(other.path()),
        };
        if let Some(dir) = first {
            let run = run("r0", b"zero").write(dir);
            release(&Registry::new(&layout(dir)), &run, Some(&hub), true).unwrap();
        }
        run("r1", b"one").write(start.path());
        let killer = Killer::new();
        let hub = killer.hub(&fake);
        let state = fake.state();
        Self { fake, killer, hub, state, start }
    }

    /// A project and a Hub as they were in the beginning.
    fn again(&self) -> tempfile::TempDir {
        let state = self.state.clone();
        self.fake.change(|now| *now = state);
        self.killer.spare();
        let dir = tempfile::tempdir().unwrap();
        copy(self.start.path(), dir.path());
        dir
    }

    fn release(&self, dir: &Path) -> registry::Result<Outcome> {
        let registry = self.killer.registry(dir);
        release(&registry, &layout(dir).run("r1"), Some(&self.hub), true)
    }

    /// Kills the release at `at`, twice where asked for, and finishes it.
    fn kill_and_finish(&self, at: usize, does_the_work: bool, twice: bool) {
        let dir = self.again();
        let mut card = None;
        let place = format!("at {at}, work done: {does_the_work}, twice: {twice}");
        for _ in 0..=usize::from(twice) {
            self.killer.kill_at(at, does_the_work);
            let killed = self.release(dir.path());
            assert!(
                killed.is_err() || !self.killer.is_dead() || killed.is_ok_and(|k| k.pending.is_some()),
                "{place}"
            );
            let begun: Vec<_> = files(layout(dir.path()).registry());
            let begun = begun.iter().filter(|path| path.ends_with("release.json"));
            let begun = begun.filter_map(|path| Manifest::read(path).ok()).find(|m| m.run_id == "r1");
            if let Some(manifest) = begun {
                assert!(card.as_ref().is_none_or(|card| *card == manifest.card), "{place}: another card");
                card = Some(manifest.card);
            }
        }
        self.killer.spare();
        let outcome = self.release(dir.path()).unwrap_or_else(|error| panic!("{place}: {error:?}"));
        assert!(outcome.pending.is_none(), "{place}: {:?}", outcome.pending);
        self.assert_whole(dir.path(), &outcome, card.as_deref(), &place);
    }

    fn assert_whole(&self, dir: &Path, outcome: &Outcome, card: Option<&str>, place: &str) {
        let (before, after) = (self.state.repositories.get(REPO).cloned(), self.fake.repository(REPO));
        let before = before.unwrap_or_else(|| Repository::new(true));
        assert_eq!(
            after.commits.len(),
            before.commits.len() + 2,
            "{place}: one commit for the version, one for main"
        );
        assert_eq!(after.tags.len(), before.tags.len() + 1, "{place}");
        assert!(after.served.iter().all(|(_, is_tagged)| *is_tagged), "{place}: main held what has no tag");
        assert_eq!(after.branches.keys().collect::<Vec<_>>(), ["main"], "{place}: a branch is left");
        let tree = after.tree(&outcome.release.version).unwrap();
        assert!(after.tree("main").unwrap() == tree, "{place}: main is something else");
        assert_eq!(tree.keys().filter(|name| name.contains("report")).count(), 0, "slides stay here");
        assert!(tree.contains_key("tokenizer.json") && tree.contains_key("DATA_CARD.md"), "{place}");
        let machine = self.start.path().to_string_lossy();
        let names_it = |content: &[u8]| String::from_utf8_lossy(content).contains(&*machine);
        assert!(!tree.values().any(|content| names_it(content)), "{place}: a path of this machine is public");
        if let Some(card) = card {
            assert!(tree["README.md"] == card.as_bytes(), "{place}: another card");
        }
        let registry = Registry::new(&layout(dir));
        assert_eq!(registry.verify().unwrap(), [""; 0], "{place}");
        let is_temporary =
            |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".tmp");
        let litter: Vec<_> = files(layout(dir).registry()).into_iter().filter(is_temporary).collect();
        assert!(litter.is_empty(), "{place}: {litter:?}");
        let journal = registry.journal().unwrap();
        let released = journal.entries.iter().filter(|entry| entry.event == Event::Released).count();
        assert_eq!(released, registry.versions().unwrap().history.len(), "{place}");
        assert_eq!(journal.live(), Some(outcome.release.version.as_str()), "{place}");
        let pushed =
            journal.entries.iter().filter(|e| e.event == Event::Pushed && e.run_id.as_deref() == Some("r1"));
        assert_eq!(pushed.count(), 1, "{place}");
        assert_eq!(
            registry.versions().unwrap().release(&outcome.release.version).unwrap().hub,
            outcome.release.hub
        );
    }
}

/// Kills a release before and after every request and step, or every `stride`th, and finishes it each time.
fn kill_everywhere(before: Before, stride: usize) {
    let scene = Scene::new(before);
    let dir = scene.again();
    let outcome = scene.release(dir.path()).unwrap();
    let count = scene.killer.count();
    assert!(count > 25, "{count} requests and steps");
    let version = if before == Before::Nothing { "v1.0.0" } else { "v1.0.1" };
    assert_eq!(outcome.release.version, version);
    scene.assert_whole(dir.path(), &outcome, None, "not killed");
    for at in (1..=count).filter(|at| at % stride == stride - 1) {
        for does_the_work in [false, true] {
            scene.kill_and_finish(at, does_the_work, (at / stride).is_multiple_of(2) || stride == 1);
            if stride == 1 {
                scene.kill_and_finish(at, does_the_work, false);
            }
        }
    }
}

#[test]
fn a_killed_release_is_finished_on_a_new_repository() {
    kill_everywhere(Before::Nothing, 4);
}

#[test]
fn a_killed_release_is_finished_after_a_version_of_ours() {
    kill_everywhere(Before::OwnVersion, 5);
}

#[test]
fn a_killed_release_is_finished_after_a_version_of_another_registry() {
    kill_everywhere(Before::AnotherRegistrys, 5);
}

#[test]
#[ignore = "endurance: every request and step, once and twice in a row"]
fn a_release_is_finished_wherever_it_was_killed() {
    for before in [Before::Nothing, Before::OwnVersion, Before::AnotherRegistrys] {
        kill_everywhere(before, 1);
    }
}

/// Two registries release to one repository at once.
fn race(times: usize) {
    let mut told = 0;
    for _ in 0..times {
        let fake = FakeHub::start();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let outcomes = std::thread::scope(|scope| {
            let started = dirs.each_ref().map(|dir| {
                let hub = place(&fake, None);
                let adapter = dir.path().to_string_lossy().into_owned();
                scope.spawn(move || {
                    let run = run("r1", adapter.as_bytes()).write(dir.path());
                    release(&Registry::new(&layout(dir.path())), &run, Some(&hub), true)
                })
            });
            started.map(|thread| thread.join().unwrap())
        });
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        let repository = fake.repository(REPO);
        assert!(repository.served.iter().all(|(_, is_tagged)| *is_tagged), "main held what has no tag");
        for (outcome, dir) in outcomes.iter().zip(&dirs) {
            let ours = dir.path().to_string_lossy().into_owned().into_bytes();
            let is_it = |tree: &test_server::hub::Tree| tree.get("adapter_model.safetensors") == Some(&ours);
            match outcome {
                Ok(outcome) => assert!(is_it(&repository.tree(&outcome.release.version).unwrap())),
                Err(Error::Taken { .. }) => {
                    told += 1;
                    assert!(!repository.served.iter().any(|(tree, _)| is_it(tree)), "main was the loser's");
                    let (hub, registry) = (place(&fake, None), Registry::new(&layout(dir.path())));
                    assert!(registry.unfinished().unwrap().is_empty(), "the plan was dropped");
                    let again = release(&registry, &layout(dir.path()).run("r1"), Some(&hub), true).unwrap();
                    assert_eq!(again.release.version, "v1.0.1");
                    assert!(again.pending.is_none());
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        let repository = fake.repository(REPO);
        assert_eq!(repository.tags.keys().collect::<Vec<_>>(), ["v1.0.0", "v1.0.1"]);
        assert!(repository.tree("main") == repository.tree("v1.0.1"), "main is the older version");
        assert_eq!(repository.branches.len(), 1, "{:?}", repository.branches);
    }
    assert!(told > 0, "no race was one");
}

#[test]
fn of_two_registries_one_wins_and_one_is_told() {
    race(20);
}

#[test]
#[ignore = "endurance: 200 races"]
fn of_two_registries_one_wins_200_times() {
    race(200);
}
