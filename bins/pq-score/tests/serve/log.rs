//! The log: what was answered is in it, once, whatever happens.

use std::collections::BTreeSet;
use std::process::Command;

use project_files::{Layout, Storage};
use slide_data::prediction_log;

use crate::common::{Service, command, drawn, logged, project, wait_until, zipped};

#[test]
fn a_request_that_is_sent_again_is_rated_and_logged_once() {
    let project = project();
    let service = Service::start(&project, &[]);
    let first = service.post("/slides", &drawn(1), Some("key-1"));
    assert!(first.status == 200 && !first.is_replayed, "{}", first.body);
    let again = service.post("/slides", &drawn(1), Some("key-1"));
    assert!(again.is_replayed && again.body == first.body, "{}", again.body);
    let other = service.post("/slides", &drawn(2), Some("key-1"));
    assert!(other.status == 422 && other.body.contains("Idempotency-Key"), "{}", other.body);
    let bodies: BTreeSet<String> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| service.post("/slides", &drawn(3), Some("key-2")).body)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(logged(&project).len(), 2);
    let deck = zipped(&[drawn(4), drawn(5)]);
    let jobs: BTreeSet<String> = (0..3)
        .map(|_| {
            service.post("/decks?name=d.zip", &deck, Some("key-3")).json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(jobs.len(), 1);
    service.wait_for_deck(jobs.first().unwrap());
    assert_eq!(logged(&project).len(), 4);
    // A refusal is not remembered.
    assert_eq!(service.post("/slides", b"no image", Some("key-4")).status, 422);
    assert_eq!(service.post("/slides", &drawn(6), Some("key-4")).status, 200);
}

/// Kills the service in the middle of requests, again and again; each client sends its own until it is answered.
fn kill_in_the_middle(requests: usize, kills: usize) {
    let project = project();
    let mut acknowledged = BTreeSet::new();
    let mut open: Vec<usize> = (0..requests).collect();
    for round in 0..=kills {
        let mut service = Service::start(&project, &[]);
        let answered = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    let (service, mine) =
                        (&service, open.iter().copied().skip(client).step_by(4).collect::<Vec<_>>());
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        for number in mine {
                            let key = format!("request-{number}");
                            let Some(answer) = service.try_post("/slides", &drawn(number), Some(&key)) else {
                                break;
                            };
                            assert_eq!(answer.status, 200, "{}", answer.body);
                            let id = answer.json()["slides"][0]["scores"]["id"].as_str().unwrap().to_owned();
                            answered.push((number, id));
                        }
                        answered
                    })
                })
                .collect();
            if round < kills {
                let before = logged(&project).len();
                wait_until("some are logged", || logged(&project).len() >= before + requests / (kills + 2));
                service.signal("-KILL");
            }
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(round == kills || answered.len() < open.len(), "killed in the middle");
        for (number, id) in answered {
            open.retain(|other| *other != number);
            assert!(acknowledged.insert(id), "{number} has an id of its own");
        }
        if round < kills {
            service.wait();
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let ids: Vec<String> = logged(&project).into_iter().filter_map(|line| line.id).collect();
    let once: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(ids.len(), once.len(), "readers see each line once");
    assert_eq!(once, acknowledged, "each acknowledged one is there, and no other: all were sent again");
    pq_testing::adverse::assert_whole(&project.path("monitoring/kept"));
}

#[test]
fn a_kill_in_the_middle_of_twenty_requests_loses_and_doubles_nothing() {
    kill_in_the_middle(20, 2);
}

#[test]
#[ignore = "endurance: kills in the middle of 200 requests"]
fn kills_in_the_middle_of_two_hundred_requests_lose_and_double_nothing() {
    kill_in_the_middle(200, 8);
}

#[test]
fn two_services_on_one_log_lose_and_double_nothing() {
    let project = project();
    let services = [Service::start(&project, &[]), Service::start(&project, &[])];
    std::thread::scope(|scope| {
        for (at, service) in services.iter().enumerate() {
            for client in 0..3 {
                scope.spawn(move || {
                    for number in 0..5 {
                        let answer = service.post("/slides", &drawn(100 * at + 10 * client + number), None);
                        assert_eq!(answer.status, 200, "{}", answer.body);
                    }
                });
            }
        }
    });
    // The same request at both: it is rated twice and counts once.
    let ids = services.each_ref().map(|service| {
        let answer = service.post("/slides", &drawn(999), Some("both"));
        answer.json()["slides"][0]["scores"]["id"].clone()
    });
    assert_eq!(ids[0], ids[1]);
    let lines = logged(&project);
    assert_eq!(lines.len(), 31);
    assert_eq!(project.read("monitoring/predictions.jsonl").lines().count(), 32);
    let pixels: BTreeSet<String> = lines.into_iter().map(|line| line.sha256).collect();
    assert_eq!(pixels.len(), 31);
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_there() {
    let project = project();
    let usual = command(&project, &[]);
    // No file may grow past 8 KiB: each write beyond fails, as on a disk that is full.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"])
        .arg(usual.get_program())
        .args(usual.get_args());
    shell.current_dir(usual.get_current_dir().unwrap()).env("RUST_LOG", "info");
    let service = Service::launch(shell, None);
    service.wait_ready();
    let answers: Vec<_> =
        (0..12).map(|number| service.post("/slides", &drawn(number), Some(&format!("k{number}")))).collect();
    let acknowledged = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(acknowledged > 0 && acknowledged < 12, "{acknowledged}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!(
            answer.status == 503 && answer.retry_after.is_some() && answer.body.contains("not_saved"),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains("monitoring"), "paths are nobody's business");
    }
    assert_eq!(logged(&project).len(), acknowledged);
    pq_testing::adverse::assert_whole(&project.path("monitoring"));
    drop(service);
    let service = Service::start(&project, &[]);
    let answer = service.post("/slides", &drawn(11), Some("k11"));
    assert_eq!(answer.status, 200, "what was refused can be sent again: {}", answer.body);
    assert_eq!(logged(&project).len(), acknowledged + 1);
}

#[test]
fn services_with_names_log_each_for_itself_and_are_taken_together() {
    let project = project();
    let layout = Layout::new(
        &Storage { monitoring_dir: project.path("monitoring"), ..Storage::default() },
        &project.path("outputs"),
    );
    let named = |name: &str| {
        let mut command = command(&project, &[]);
        command.args(["--replica", name]);
        Service::launch(command, None)
    };
    let services = ["pod-a", "pod-b"].map(named);
    services.iter().for_each(Service::wait_ready);
    for (service, number) in services.iter().zip([1, 2]) {
        assert_eq!(service.post("/slides", &drawn(number), Some("key")).status, 200);
    }
    // One that was not answered asks the other: the same line, by its id.
    assert_eq!(services[1].post("/slides", &drawn(1), Some("key-1")).status, 200);
    assert_eq!(services[0].post("/slides", &drawn(1), Some("key-1")).status, 200);
    assert_eq!(logged(&project).len(), 0);
    assert_eq!(prediction_log::gather(&layout).unwrap(), 4);
    assert_eq!(logged(&project).len(), 3);
    assert_eq!(services[0].post("/slides", &drawn(3), None).status, 200);
    assert_eq!((prediction_log::gather(&layout).unwrap(), logged(&project).len()), (1, 4));
    let output = command(&project, &[]).args(["--replica", "../a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
