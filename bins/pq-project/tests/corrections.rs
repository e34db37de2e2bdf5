//! A correction of a deck that nobody collected, from its scores to the next training: scored, corrected, brought in, taught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod team;

use std::collections::BTreeSet;

use project_files::Contract as _;
use slide_data::{Answer, Manifest, Score, Split, Splits, Target};
use slide_scorer::LabelledSlide;
use team::{Team, of_split, slide};

#[test]
fn a_corrected_stranger_is_in_the_next_training_and_no_test_set_moves() {
    let team = Team::new();
    let before = team.labelled();
    let splits = Splits::read(&team.layout().splits()).unwrap();
    let test = team.manifest().into_iter().find(|slide| splits.of(slide) == Some(Split::Test)).unwrap();

    // Two strangers: one new, and one that holds a cropped copy of a slide of the test.
    let stored = image::open(Manifest::image_path(team.layout().slides().root(), &test.slide_id)).unwrap();
    let copy = stored.crop_imm(4, 4, 632, 352).into_rgb8();
    let stranger =
        team.score(&team.draw("production/one", "stranger", &[slide(900), slide(901), slide(902)]));
    let like_test = team.score(&team.draw("production/two", "like test", &[copy, slide(910)]));
    let all = [("clarity", Some(5)), ("design", Some(1)), ("data_visualization", None)];
    team.correct("c0", &stranger[0], &[("clarity", Some(1))], "2026-01-01T00:00:00Z");
    team.correct("c1", &stranger[0], &all, "2026-01-02T00:00:00Z");
    team.correct(
        "c2",
        &stranger[2],
        &[("readability", Some(2)), ("unknown", Some(4))],
        "2026-01-01T00:00:00Z",
    );
    team.correct("c3", &like_test[0], &all, "2026-01-01T00:00:00Z");
    team.correct("c4", &like_test[1], &all, "2026-01-01T00:00:00Z");
    team.correct("c5", &test.slide_id, &all, "2026-01-01T00:00:00Z");
    team.correct("c6", &stranger[1], &[("unknown", Some(4))], "2026-01-01T00:00:00Z");
    team.correct("c7", &stranger[1], &[("data_visualization", None)], "2026-01-01T00:00:00Z");
    let waits = team.run("pq-trigger", &["--dry-run"]);
    assert!(waits.contains("of kept slides, which `pq-collect production` brings in"), "{waits}");
    team.run("pq-collect", &["production"]);

    // The targets of the next training: what was corrected is obeyed, and nothing else is taught of these slides.
    let after = team.labelled();
    for split in [Split::Test, Split::Val] {
        assert_eq!(of_split(&after, split), of_split(&before, split), "{split:?}");
    }
    let (old, new): (Vec<&LabelledSlide>, Vec<&LabelledSlide>) = after
        .iter()
        .filter(|slide| slide.split == Split::Train)
        .partition(|slide| before.iter().any(|known| known.record.slide_id == slide.record.slide_id));
    assert_eq!(old.len(), of_split(&before, Split::Train).len());
    let ids: BTreeSet<&str> = new.iter().map(|slide| slide.record.slide_id.as_str()).collect();
    assert_eq!(ids, stranger.iter().map(String::as_str).collect());
    let target = |slide: &str, key: &str| {
        let found = new.iter().find(|known| known.record.slide_id == slide).unwrap();
        found.label.target(key)
    };
    let sure = |score: u8| Target::decided(Answer::Score(Score::new(score).unwrap()));
    assert_eq!(target(&stranger[0], "clarity"), sure(5), "the newest correction counts");
    assert_eq!(target(&stranger[0], "data_visualization"), Target::decided(Answer::NotApplicable));
    assert_eq!(target(&stranger[0], "readability"), Target::Missing);
    assert_eq!(target(&stranger[2], "readability"), sure(2));
    // That a criterion does not apply is all that is known of this one: it teaches that, and no score.
    assert_eq!(target(&stranger[1], "data_visualization"), Target::decided(Answer::NotApplicable));
    assert_eq!(target(&stranger[1], "clarity"), Target::Missing);
    let without = after.iter().filter(|slide| !slide.has_score());
    assert!(without.map(|slide| &slide.record.slide_id).eq([&stranger[1]]));

    // The run says so itself.
    team.run("pq-train", &["--run", "two"]);
    let (one, two) = (team.record("one"), team.record("two"));
    let listed = [("c1", &stranger[0]), ("c2", &stranger[2]), ("c7", &stranger[1])];
    assert_eq!(two.corrections, listed.map(|(id, slide)| (id.to_owned(), slide.clone())).into());
    assert!(one.corrections.is_empty() && one.test_set.as_ref().is_some_and(|test| test.slides > 0));
    assert_eq!(one.test_set, two.test_set, "slides and labels of the test are what they were");
    assert_eq!(two.data.train_slides, one.data.train_slides + 2);
    assert_eq!((two.data.val_slides, two.data.test_slides), (one.data.val_slides, one.data.test_slides));
    let again = team.run("pq-collect", &["production"]);
    assert!(again.contains("0 of 0 decks are new"), "{again}");
}
