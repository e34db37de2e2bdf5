//! What the vision tower says of slides is computed before a training, by whoever has time, and the training is the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod team;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use team::{Team, slide};

impl Team {
    fn look(&self) -> Value {
        serde_json::from_str(&self.run("pq-collect", &["features", "--json"])).unwrap()
    }

    /// Trains; the adapter's weights, and whether a tile was computed for it.
    fn train(&self, run: &str) -> (Vec<u8>, bool) {
        let said = self.output("pq-train", &["--run", run]).stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("tiles computed"), "{said}");
        let weights = std::fs::read(self.layout().run(run).adapter_weights()).unwrap();
        (weights, !said.contains(" 0 tiles computed"))
    }
}

fn files(folder: &Path) -> usize {
    let parts = std::fs::read_dir(folder).into_iter().flatten().flatten();
    parts.map(|part| std::fs::read_dir(part.path()).unwrap().count()).sum()
}

#[test]
fn a_training_takes_what_was_computed_before_and_is_the_same() {
    let team = Team::rated();
    let first = team.look();
    assert_eq!((&first["slides"], &first["unreadable"], &first["found"]), (&16.into(), &0.into(), &0.into()));
    assert!(first["computed"].as_u64().unwrap() >= 16, "{first}");
    let again = team.look();
    assert_eq!((&again["computed"], &again["found"]), (&0.into(), &first["computed"]));
    let before = team.train("one");
    std::fs::remove_dir_all(team.layout().feature_cache()).unwrap();
    let anew = team.train("two");
    assert_eq!((before.1, anew.1), (false, true));
    assert!(before.0 == anew.0, "the weights of the two adapters differ");
}

#[test]
fn a_slide_that_cannot_be_read_is_counted_and_the_others_are_looked_at() {
    let team = Team::rated();
    let files = team.layout().slides();
    std::fs::write(files.image(&team.manifest()[3].slide_id), "no picture").unwrap();
    let output = team.output("pq-collect", &["features", "--json"]);
    let looked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&looked["slides"], &looked["unreadable"]), (&15.into(), &1.into()));
    assert_eq!(output.status.code(), Some(1));
    let refused = team.output("pq-collect", &["features", "--set", "training.cache_vision_features=false"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("cache_vision_features"), "{said}");
}

#[test]
fn what_scoring_has_seen_a_training_takes() {
    let team = Team::new();
    team.look(); // a run does not look at the slides of the test
    let deck = team.draw("handed in", "stranger", &[slide(900), slide(901)]);
    let folder = deck.parent().unwrap().to_str().unwrap();
    let some = ["--set", "kept_slides.max_features_mib=100"];
    team.run("pq-score", &[&["--adapter", "outputs/one", folder], some.as_slice()].concat());
    let kept = files(&team.layout().kept().features());
    assert!(kept >= 2, "{kept}");
    let scored = team.score(&deck);
    team.correct("c1", &scored[0], &[("clarity", Some(2))], &jiff::Timestamp::now().to_string());
    assert_eq!(files(&team.layout().kept().features()), 0, "a call that is to keep none removes them");
    team.run("pq-score", &[&["--adapter", "outputs/one", folder], some.as_slice()].concat());
    team.run("pq-collect", &["production"]);
    let looked = team.look();
    assert_eq!((&looked["slides"], &looked["computed"]), (&17.into(), &0.into()), "{looked}");
}

#[test]
fn the_labelling_server_has_it_computed_while_nobody_rates() {
    let team = Team::rated();
    let mut server = Command::new(programs::programs(&["pq-label", "pq-collect"]).join("pq-label"));
    server.current_dir(team.path("")).args(["--features", "--no-open", "--port", "0"]);
    let mut server = server.env("HOME", team.path("")).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let (mut seen, mut since) = (0, Instant::now());
    // It is done when nothing has come for a while.
    while seen == 0 || since.elapsed() < Duration::from_secs(3) {
        assert!(begin.elapsed() < Duration::from_mins(2), "nothing was computed");
        std::thread::sleep(Duration::from_millis(100));
        let now = files(&team.layout().feature_cache());
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    let interrupted = Command::new("kill").args(["-INT", &server.id().to_string()]).status().unwrap();
    assert!(interrupted.success() && server.wait().unwrap().success());
    let looked = team.look();
    assert_eq!((&looked["slides"], &looked["computed"]), (&16.into(), &0.into()), "{looked}");
}
