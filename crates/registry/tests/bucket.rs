//! A bucket as a place of versions, against `moto_server`, with a proxy before it that fails as it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod moto;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_client::{Client, Options};
use moto::{Proxy, SECRET, options};
use project_files::Contract as _;
use registry::{BucketOptions, BucketPlace, Error, Event, Outcome, Place, Registry, Stage};
use support::{Killer, Project, by, copy, layout, release, run};
use test_server::hub::Fault;
use test_server::moto::{AUTHORIZATION, Moto};
use test_server::{Answer, text};

fn place(base: &str, bucket: &str) -> BucketPlace {
    BucketPlace::new(&options(base, bucket, None), "ann").unwrap()
}

fn adapter(place: &dyn Place, version: &str) -> Vec<u8> {
    place.load(version).unwrap().files["adapter_model.safetensors"].clone()
}

fn a_bucket_tells_how_far_a_release_has_come() {
    let moto = Moto::start();
    moto.bucket("rater");
    let Project { registry, dir: _dir, .. } = Project::released(&[b"one"], false);
    let bucket = place(&moto.base, "rater");
    let bundle = registry.folder().load("v1.0.0").unwrap();
    assert_eq!(bucket.stage(&bundle).unwrap(), Stage::Absent);
    assert!(bucket.taken().unwrap().is_empty() && bucket.live().unwrap().is_none());
    bucket.store(&bundle).unwrap();
    bucket.store(&bundle).unwrap();
    assert_eq!(bucket.stage(&bundle).unwrap(), Stage::Stored);
    assert!(matches!(bucket.load("v1.0.0"), Err(Error::NoVersion { .. })), "it has no name yet");
    bucket.give_up(&bundle).unwrap();
    assert_eq!(bucket.stage(&bundle).unwrap(), Stage::Absent);
    bucket.store(&bundle).unwrap();
    for _ in 0..2 {
        assert_eq!(bucket.name(&bundle).unwrap().unwrap().tag, "v1.0.0");
    }
    assert_eq!(bucket.stage(&bundle).unwrap(), Stage::Named);
    bucket.give_up(&bundle).unwrap();
    let never = |live: &str| panic!("{live} is not in use");
    bucket.make_live(&bundle, &never).unwrap();
    bucket.make_live(&bundle, &never).unwrap();
    assert_eq!(
        (bucket.stage(&bundle).unwrap(), bucket.live().unwrap().as_deref()),
        (Stage::Live, Some("v1.0.0"))
    );
    let stored = bucket.load("v1").unwrap();
    let public: Vec<String> = bundle.public().into_iter().map(|file| file.path).collect();
    assert_eq!(stored.files.keys().collect::<Vec<_>>(), public.iter().collect::<Vec<_>>());
    assert!(public.len() < bundle.files.len() && !public.iter().any(|name| name == "report.html"));
    let events: Vec<Event> = bucket.journal().unwrap().entries.iter().map(|entry| entry.event).collect();
    assert_eq!(events, [Event::Released, Event::Pushed]);
    assert!(bucket.journal().unwrap().problems.is_empty());
    for wrong in ["", "s3://", "http://a/b", "s3://a b"] {
        let options = BucketOptions { url: wrong.to_owned(), ..options(&moto.base, "rater", None) };
        assert!(matches!(BucketPlace::new(&options, "ann"), Err(Error::Domain { .. })), "{wrong}");
    }
    assert!(!format!("{:?}", options(&moto.base, "rater", None)).contains(SECRET));
}

fn releases_go_to_a_bucket_and_come_back() {
    let moto = Moto::start();
    moto.bucket("rater");
    let bucket = place(&moto.base, "rater");
    let project = Project::released(&[], false);
    for (name, content) in [("r1", b"one"), ("r2", b"two")] {
        let outcome = release(&project.registry, &project.run(name, content), Some(&bucket), true).unwrap();
        assert!(outcome.pending.is_none(), "{:?}", outcome.pending);
    }
    assert!(project.registry.examine(Some(&bucket)).unwrap().is_empty());
    assert_eq!(
        (bucket.live().unwrap().as_deref(), &*adapter(&bucket, "v1.0.0")),
        (Some("v1.0.1"), &b"one"[..])
    );
    let mut writer = project.writer();
    writer.promote(None, Event::RolledBack).unwrap();
    assert_eq!(writer.push(&bucket).unwrap().len(), 1);
    drop(writer);
    assert_eq!(bucket.live().unwrap().as_deref(), Some("v1.0.0"));
    assert_eq!(bucket.journal().unwrap().line_of_use(), ["v1.0.0", "v1.0.1", "v1.0.0"]);

    let other = tempfile::tempdir().unwrap();
    let elsewhere = Registry::new(&layout(other.path()));
    assert!(elsewhere.write(by()).unwrap().repair(Some(&bucket)).unwrap().is_empty());
    assert_eq!(elsewhere.versions().unwrap().history.len(), 2);
    assert!(elsewhere.verify().unwrap().is_empty());
    let next = release(&elsewhere, &run("r3", b"333").write(other.path()), Some(&bucket), true).unwrap();
    assert_eq!((next.release.version.as_str(), next.pending.is_none()), ("v1.0.2", true));
    let error = project.writer().push(&bucket).unwrap_err();
    assert!(matches!(&error, Error::Ahead { version, .. } if version == "v1.0.2"), "{error:?}");
}

/// Each request of a release fails once in each of the ways there are.
fn faults_of_the_service_are_survived() {
    let moto = Moto::start();
    let cut = || Answer::Cut { status: 200, headers: Vec::new(), body: b"<half".to_vec(), announced: 1000 };
    let faults: [(&str, &dyn Fn() -> Fault); 6] = [
        ("500", &|| Fault::Instead(text(500, "<Error><Code>InternalError</Code></Error>"))),
        ("503", &|| Fault::Instead(text(503, "<Error><Code>SlowDown</Code></Error>"))),
        ("lost before", &|| Fault::Instead(Answer::Lost)),
        ("lost after", &|| Fault::Afterwards(Answer::Lost)),
        ("cut", &|| Fault::Afterwards(cut())),
        ("slow", &|| Fault::Instead(Answer::Hang(Duration::from_secs(5)))),
    ];
    for (number, (name, fault)) in faults.into_iter().enumerate() {
        let bucket = format!("faults-{number}");
        moto.bucket(&bucket);
        let proxy = Proxy::before(&moto);
        let (answer, is_slow) = (fault(), name == "slow");
        let mut seen = std::collections::BTreeSet::new();
        // What is asked for the first time fails; of what is slow the first request to each folder.
        proxy.on_request(move |request| {
            let path =
                if is_slow { request.path.rsplit_once('/').unwrap_or_default().0 } else { &request.path };
            let is_first = seen.insert((request.method.clone(), path.to_owned()));
            if is_first { answer.clone() } else { Fault::None }
        });
        let mut options = options(&proxy.server.base, &bucket, None);
        if is_slow {
            options.http.timeouts.first_byte = Duration::from_secs(2);
        }
        let place = BucketPlace::new(&options, "ann").unwrap();
        let project = Project::released(&[], false);
        let outcome = release(&project.registry, &project.run("r1", b"one"), Some(&place), true);
        let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(outcome.pending.is_none(), "{name}: {:?}", outcome.pending);
        proxy.heal();
        assert_eq!(adapter(&place, "v1.0.0"), b"one", "{name}");
        let journal = place.journal().unwrap();
        assert_eq!((journal.entries.len(), journal.problems.len()), (2, 0), "{name}: {journal:?}");
        for request in proxy.server.requests() {
            let is_clean = |bytes: &[u8]| !String::from_utf8_lossy(bytes).contains(SECRET);
            assert!(is_clean(&request.body) && is_clean(format!("{:?}", request.headers).as_bytes()));
        }
    }
}

/// A release that is killed at each of its requests and steps, or every `stride`th, is finished by the same call.
fn kill_everywhere(stride: usize) {
    let moto = Moto::start();
    let proxy = Proxy::before(&moto);
    let killer = Killer::new();
    let start = tempfile::tempdir().unwrap();
    run("r1", b"one").write(start.path());
    let release_to = |dir: &Path, bucket: &str| -> registry::Result<Outcome> {
        let dead = Arc::clone(&killer);
        let options = options(&proxy.server.base, bucket, Some(Arc::new(move || dead.is_dead())));
        let place = BucketPlace::new(&options, "ann").unwrap();
        release(&killer.registry(dir), &layout(dir).run("r1"), Some(&place), true)
    };
    let again = |bucket: &str| {
        killer.spare();
        moto.bucket(bucket);
        let dir = tempfile::tempdir().unwrap();
        copy(start.path(), dir.path());
        dir
    };
    let shared = Arc::clone(&killer);
    proxy.on_request(move |_| shared.request());
    let dir = again("not-killed");
    release_to(dir.path(), "not-killed").unwrap();
    let count = killer.count();
    assert!(count > 30, "{count} requests and steps");
    for at in (1..=count).filter(|at| at % stride == 0) {
        for does_the_work in [false, true] {
            let bucket = format!("kill-{at}-{does_the_work}");
            let dir = again(&bucket);
            killer.kill_at(at, does_the_work);
            let killed = release_to(dir.path(), &bucket);
            assert!(
                killed.is_err() || killed.is_ok_and(|outcome| outcome.pending.is_some()) || !killer.is_dead()
            );
            killer.spare();
            let outcome =
                release_to(dir.path(), &bucket).unwrap_or_else(|error| panic!("{bucket}: {error:?}"));
            assert!(outcome.pending.is_none(), "{bucket}: {:?}", outcome.pending);
            let place = place(&proxy.server.base, &bucket);
            assert_eq!(
                (place.live().unwrap().as_deref(), &*adapter(&place, "v1.0.0")),
                (Some("v1.0.0"), &b"one"[..])
            );
            let journal = place.journal().unwrap();
            let events: Vec<Event> = journal.entries.iter().map(|entry| entry.event).collect();
            assert_eq!(
                (events, journal.problems.len()),
                (vec![Event::Released, Event::Pushed], 0),
                "{bucket}"
            );
            assert!(Registry::new(&layout(dir.path())).verify().unwrap().is_empty(), "{bucket}");
        }
    }
}

fn a_killed_release_is_finished() {
    kill_everywhere(9);
}

fn a_release_is_finished_wherever_it_was_killed() {
    kill_everywhere(1);
}

/// Two registries release to one bucket at once.
fn race(times: usize) {
    let moto = Moto::start();
    let proxy = Proxy::before(&moto);
    let mut told = 0;
    for number in 0..times {
        let bucket = format!("race-{number}");
        moto.bucket(&bucket);
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let outcomes = std::thread::scope(|scope| {
            let started = dirs.each_ref().map(|dir| {
                let (bucket, base) = (&bucket, &proxy.server.base);
                scope.spawn(move || {
                    let content = dir.path().to_string_lossy().into_owned();
                    let run = run("r1", content.as_bytes()).write(dir.path());
                    release(&Registry::new(&layout(dir.path())), &run, Some(&place(base, bucket)), true)
                })
            });
            started.map(|thread| thread.join().unwrap())
        });
        let place = place(&proxy.server.base, &bucket);
        for (outcome, dir) in outcomes.iter().zip(&dirs) {
            let content = dir.path().to_string_lossy().into_owned();
            match outcome {
                Ok(outcome) => assert_eq!(adapter(&place, &outcome.release.version), content.as_bytes()),
                Err(Error::Taken { .. }) => {
                    told += 1;
                    let registry = Registry::new(&layout(dir.path()));
                    assert!(registry.unfinished().unwrap().is_empty(), "the plan was dropped");
                    let run = layout(dir.path()).run("r1");
                    assert_eq!(
                        release(&registry, &run, Some(&place), true).unwrap().release.version,
                        "v1.0.1"
                    );
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(place.taken().unwrap().into_values().collect::<Vec<_>>(), ["v1.0.0", "v1.0.1"]);
        assert_eq!(place.live().unwrap().as_deref(), Some("v1.0.1"), "the older version is in use");
        let journal = place.journal().unwrap();
        assert_eq!((journal.live(), journal.problems.len()), (Some("v1.0.1"), 0), "{journal:?}");
    }
    assert!(times < 10 || told > 0, "no race was one");
}

fn of_two_registries_one_wins_and_one_is_told() {
    race(5);
}

fn of_two_registries_one_wins_200_times() {
    race(200);
}

fn what_was_changed_in_a_bucket_is_refused() {
    let moto = Moto::start();
    moto.bucket("rater");
    let bucket = place(&moto.base, "rater");
    let project = Project::released(&[], false);
    release(&project.registry, &project.run("r1", b"one"), Some(&bucket), true).unwrap();
    let put = |name: &str, content: &[u8]| {
        let url = http_client::parse(&format!("{}/rater/slides/rater/{name}", moto.base)).unwrap();
        let request = http_client::Request::put(url).header("Authorization", AUTHORIZATION).unwrap();
        let answer = Client::new(Options::default()).unwrap().send(&request.body(content.to_vec())).unwrap();
        assert!(answer.is_success());
    };
    put("versions/v1.0.0/adapter_model.safetensors", b"other");
    assert!(matches!(bucket.load("v1.0.0"), Err(Error::Corrupt { .. })));
    put("versions/v1.0.0/adapter_model.safetensors", b"one");
    assert_eq!(adapter(&bucket, "v1.0.0"), b"one");
    let entry = bucket.journal().unwrap().entries[0].clone();
    let changed = project_files::JournalEntry { who: "eve".to_owned(), ..entry };
    put("journal/00000001.json", serde_json::to_string(&changed).unwrap().as_bytes());
    assert!(!bucket.journal().unwrap().problems.is_empty());
    put("live.json", b"nonsense");
    assert!(bucket.live().is_err());
    let manifest =
        project_files::Manifest::read(&layout(project.dir.path()).version("v1.0.0").manifest()).unwrap();
    put("versions/v1.0.0/release.json", format!("{manifest:?}").as_bytes());
    assert!(bucket.load("v1.0.0").is_err());
}

pq_testing::tests! {
    a_bucket_tells_how_far_a_release_has_come: needs Moto;
    releases_go_to_a_bucket_and_come_back: needs Moto;
    faults_of_the_service_are_survived: needs Moto;
    a_killed_release_is_finished: needs Moto;
    a_release_is_finished_wherever_it_was_killed: ignored "endurance: every request and step" needs Moto;
    of_two_registries_one_wins_and_one_is_told: needs Moto;
    of_two_registries_one_wins_200_times: ignored "endurance: 200 races" needs Moto;
    what_was_changed_in_a_bucket_is_refused: needs Moto;
}
