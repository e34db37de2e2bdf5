//! The deck report with an older version beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{HOSTILE, assert_self_contained, image, keep, prediction};
use jiff::Timestamp;
use report_pages::{CorrectionForm, DeckReport, Familiar, OlderVersion, ScoredSlide, render_deck_report};
use slide_data::{DeckVersions, Rubric, ScoreDifference, SlideVersions, Tendency};

fn difference(criterion: &str, before: f64, after: f64, tendency: Tendency) -> ScoreDifference {
    let interval = Some([after - before - 1.1, after - before + 1.1]);
    ScoreDifference { criterion: criterion.to_owned(), before, after, interval, tendency, slides: 1 }
}

fn page(older: Option<&OlderVersion>) -> String {
    let slide = |number| ScoredSlide {
        number,
        title: "deck".to_owned(),
        image: Some(image(number)),
        prediction: prediction("s", number, 0.0),
        familiar: Familiar::default(),
    };
    let slides: Vec<ScoredSlide> = [1, 2, 4, 5, 6].map(slide).into();
    render_deck_report(&DeckReport {
        title: "Deck",
        rubric: &Rubric::default(),
        slides: &slides,
        model_version: "v4",
        caveat: "",
        quality: "",
        older,
        failed: &[],
        corrections: CorrectionForm::None,
        generated_at: Timestamp::UNIX_EPOCH,
    })
    .unwrap()
}

#[test]
fn what_changed_is_shown_side_by_side_and_in_words() {
    let changed = SlideVersions {
        before: 3,
        after: 4,
        differences: vec![
            difference("clarity", 1.4, 4.0, Tendency::Better),
            difference("design", 3.2, 1.2, Tendency::Worse),
            difference("readability", 3.0, 3.4, Tendency::Unclear),
        ],
    };
    let versions = DeckVersions {
        kept: vec![[1, 1], [2, 2]],
        moved: vec![[4, 5]],
        changed: vec![changed.clone()],
        added: vec![6],
        removed: vec![5, 6],
        criteria: changed.differences.clone(),
    };
    let images = [(3, image(9))].into();
    let older = OlderVersion { title: HOSTILE.to_owned(), versions, images };
    let shown = page(Some(&older));
    keep("versions.html", &shown);
    assert_self_contained(&shown);
    assert!(shown.contains(
        "2 slides are the same, moved: 5, 1 changed, new: 6, left out: 5 and 6 of the older version"
    ));
    assert!(shown.contains("&lt;script&gt;alert"), "a name is escaped");
    assert!(shown.contains("alt=\"Slide 3 before\"") && shown.contains("<a href=\"#slide-3\">slide 4</a>"));
    assert!(shown.contains("<dd>1.4 → 4.0</dd><dd class=\"ok\">better</dd>"));
    assert!(
        shown.contains("<dd class=\"no\">worse</dd>")
            && shown.contains("<dd class=\"soft\">cannot tell</dd>")
    );
    assert!(shown.contains("<td>+2.6</td><td>+1.5 to +3.7</td>") && shown.contains("<td>−2.0</td>"));
    assert!(shown.contains("of twenty such reports at most one"));
    let unmeasured = |found: &mut ScoreDifference| found.interval = None;
    let mut bare = older.clone();
    bare.versions.criteria.iter_mut().for_each(unmeasured);
    bare.versions.changed[0].differences.iter_mut().for_each(unmeasured);
    assert!(page(Some(&bare)).contains("Nobody measured how far this model errs"));
    assert!(!page(None).contains("Before and after"));
    let same = OlderVersion {
        versions: DeckVersions { kept: vec![[1, 1]], ..DeckVersions::default() },
        ..OlderVersion::default()
    };
    assert!(page(Some(&same)).contains("1 slide is the same."));
}
