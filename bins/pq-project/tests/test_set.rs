//! The first training freezes what models are measured against; a change is what a person makes, and says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod team;

use project_files::{Contract as _, ValidationResults};
use slide_data::{Labels, Split, Splits, TestSetChange};
use team::{Team, of_split};

const LATER: &str = "Ana had read the scale upside down";

impl Team {
    fn splits(&self) -> Splits {
        Splits::read(&self.layout().splits()).unwrap()
    }

    fn history(&self) -> Vec<TestSetChange> {
        self.splits().test_history
    }

    /// What validating the run finds, whatever the verdict.
    fn numbers(&self, run: &str) -> (usize, std::collections::BTreeMap<String, f64>) {
        let folder = format!("outputs/{run}");
        let output = self.output("pq-validate", &[&folder]);
        assert!(
            matches!(output.status.code(), Some(0 | 1 | 3)),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let results = ValidationResults::read(&self.layout().run(run).validation()).unwrap();
        (results.sizes.slides, results.metrics)
    }
}

#[test]
fn later_ratings_change_no_measurement_until_a_person_takes_them_over() {
    let team = Team::rated();
    let too_early = team.output("pq-collect", &["splits", "--accept-test-labels", LATER]);
    let said = String::from_utf8_lossy(&too_early.stderr).into_owned();
    assert!(too_early.status.code() == Some(2) && said.contains("not frozen"), "{said}");

    team.run("pq-train", &["--run", "one"]);
    let [frozen] = team.history().try_into().unwrap();
    assert!(frozen.why.contains("one") && frozen.before.is_none() && frozen.changed > 0, "{frozen:?}");
    let before = of_split(&team.labelled(), Split::Test);
    assert_eq!(before.len(), frozen.changed);
    let numbers = team.numbers("one");
    assert_eq!(numbers.0, before.len());

    // Everybody rates the slides of the test anew.
    let splits = team.splits();
    let test: Vec<String> = before.iter().map(|(slide, _)| slide.clone()).collect();
    for rater in ["Ana", "Bea", "Cem"] {
        let ratings = team.ratings_of(rater, test.iter().map(|slide| (slide.clone(), [2, 2, 2, 2, 2])));
        team.run("pq-label", &["import", ratings.to_str().unwrap()]);
    }
    let labels = Labels::read(&team.layout().labels()).unwrap();
    let differs =
        |slide: &&String| labels.slides[*slide] != splits.test_labels.as_ref().unwrap().slides[*slide];
    assert_eq!(test.iter().filter(differs).count(), test.len(), "people do say something else now");

    assert_eq!(of_split(&team.labelled(), Split::Test), before);
    assert_eq!(team.numbers("one"), numbers, "the same run is as good as it was");
    let output = team.output("pq-train", &["--run", "two"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A few steps on a base with random weights teach nothing, which the command says with status 1.
    let is_done =
        output.status.success() || String::from_utf8_lossy(&output.stdout).contains("has not learned");
    assert!(is_done && said.contains("--accept-test-labels"), "{said}");
    assert_eq!(team.record("two").test_set, team.record("one").test_set);
    assert_eq!(team.history(), std::slice::from_ref(&frozen), "frozen once");

    // What would change is named; nothing is taken over by asking, nor without a reason.
    let asked = team.run("pq-collect", &["splits"]);
    assert!(asked.contains(&test[0]) && asked.contains("clarity 2, was "), "{asked}");
    assert!(!team.output("pq-collect", &["splits", "--accept-test-labels", " "]).status.success());
    assert_eq!(team.splits(), splits);

    let taken = team.run("pq-collect", &["splits", "--accept-test-labels", LATER, "--by", "Bea"]);
    assert!(taken.contains("Bea") && taken.contains(LATER), "{taken}");
    let [first, second] = team.history().try_into().unwrap();
    assert_eq!((&first, second.before.as_ref()), (&frozen, Some(&frozen.after)));
    assert_eq!((second.by.as_str(), second.why.as_str(), second.changed), ("Bea", LATER, test.len()));
    assert_ne!(second.after, frozen.after);
    assert_ne!(of_split(&team.labelled(), Split::Test), before);
    assert_ne!(team.numbers("one").1, numbers.1);
    team.run("pq-collect", &["splits", "--accept-test-labels", LATER]);
    assert_eq!(team.history().len(), 2, "what changes nothing is not noted");
    let json: serde_json::Value =
        serde_json::from_str(&team.run("pq-collect", &["splits", "--json"])).unwrap();
    assert_eq!(json["test_history"].as_array().unwrap().len(), 2);
    assert_eq!(json["test_label_changes"], serde_json::json!({}));
}
