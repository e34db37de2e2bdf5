//! What was in use when, in random histories; and what changes of a single byte come to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use jiff::Timestamp;
use project_files::{Journal, JournalEntry, check_stored};
use registry::{Error, Event, Registry, validated};
use support::{by, files, layout, release, run};

/// Random journals, asked at random times, against a plain list of what was put in use when.
fn random_histories(count: u64) {
    for seed in 0..count {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let (mut entries, mut truth): (Vec<JournalEntry>, Vec<(i64, Option<String>)>) =
            (Vec::new(), Vec::new());
        let (mut time, mut live) = (1000, None);
        for _ in 0..random.usize(1..30) {
            time += random.i64(0..50);
            let before = live.clone();
            let event = [Event::Released, Event::Promoted, Event::RolledBack, Event::Pushed, Event::Refused]
                [random.usize(..5)];
            if !matches!(event, Event::Pushed | Event::Refused) && random.u8(..4) > 0 {
                live = Some(format!("v1.{}.0", random.u8(..5)));
            }
            truth.push((time, live.clone()));
            let at = Timestamp::from_second(time).unwrap();
            entries.push(JournalEntry { at, event, before, live: live.clone(), ..JournalEntry::default() });
        }
        Journal::append(&layout.registry_journal(), entries).unwrap();
        let registry = Registry::new(&layout);
        for _ in 0..20 {
            let asked = random.i64(990..time + 20);
            let expected = truth.iter().rfind(|(at, _)| *at <= asked).and_then(|(_, live)| live.clone());
            let answer = registry.live_at(Timestamp::from_second(asked).unwrap()).unwrap();
            assert_eq!(answer.and_then(|entry| entry.live), expected, "seed {seed}, asked {asked}");
        }
    }
}

#[test]
fn what_was_in_use_when_is_known() {
    random_histories(100);
}

#[test]
#[ignore = "endurance: 1,000 random histories"]
fn what_was_in_use_when_is_known_in_1000_histories() {
    random_histories(1000);
}

#[test]
fn the_journal_follows_what_the_writer_does() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let mut random = fastrand::Rng::with_seed(7);
    let mut truth: Vec<(Timestamp, Option<String>)> = Vec::new();
    for step in 0..25 {
        match random.u8(..3) {
            0 => {
                let (name, adapter) = (format!("r{step}"), format!("adapter {step}"));
                let run = run(&name, adapter.as_bytes()).write(dir.path());
                release(&registry, &run, None, random.bool()).unwrap();
            }
            1 => {
                let versions = registry.versions().unwrap();
                if let Some(release) = random.choice(versions.history.iter()) {
                    registry.write(by()).unwrap().promote(Some(&release.version), Event::Promoted).unwrap();
                }
            }
            _ => match registry.write(by()).unwrap().promote(None, Event::RolledBack) {
                Ok(_) | Err(Error::NothingBefore { .. }) => {}
                Err(error) => panic!("{error:?}"),
            },
        }
        truth.push((Timestamp::now(), registry.versions().unwrap().version));
    }
    for (at, live) in truth {
        assert_eq!(registry.live_at(at).unwrap().and_then(|entry| entry.live), live);
    }
    assert!(registry.verify().unwrap().is_empty());
}

/// Changes single bytes of released files: every check refuses each of them.
fn flip_bytes(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path()));
    let run_files = run("r1", &[7; 3000]).write(dir.path());
    release(&registry, &run_files, None, true).unwrap();
    release(&registry, &run("r2", b"two").write(dir.path()), None, true).unwrap();
    let stored = layout(dir.path()).version("v1.0.0");
    let released = registry.versions().unwrap().release("v1.0.0").unwrap().clone();
    let of_run = registry::ValidationResults::of_a_run(&run_files);
    let mut random = fastrand::Rng::with_seed(11);
    let mut flip = |paths: &[std::path::PathBuf]| {
        let path = random.choice(paths).unwrap().clone();
        let before = std::fs::read(&path).unwrap();
        let mut changed = before.clone();
        let at = random.usize(..before.len());
        changed[at] ^= 1 << random.u8(..8);
        std::fs::write(&path, changed).unwrap();
        (path, before, at)
    };
    for _ in 0..count {
        let (path, before, at) = flip(&files(stored.dir()));
        let place = format!("{} at {at}", path.display());
        assert!(check_stored(&stored, Some(&released)).is_err(), "score: {place}");
        assert!(check_stored(&stored, None).is_err(), "score, named by its folder: {place}");
        assert_eq!(registry.verify().unwrap().len(), 1, "verify: {place}");
        let promoted = registry.write(by()).unwrap().promote(Some("v1.0.0"), Event::Promoted);
        assert!(promoted.is_err(), "promote: {place}");
        std::fs::write(&path, before).unwrap();
        let (path, before, at) = flip(&of_run);
        assert!(validated(&run_files).is_err(), "register: {} at {at}", path.display());
        std::fs::write(&path, before).unwrap();
    }
    assert!(registry.verify().unwrap().is_empty());
}

#[test]
fn a_changed_byte_is_refused_everywhere() {
    flip_bytes(200);
}

#[test]
#[ignore = "endurance: 10,000 changed bytes"]
fn a_changed_byte_is_refused_everywhere_10000_times() {
    flip_bytes(10_000);
}
