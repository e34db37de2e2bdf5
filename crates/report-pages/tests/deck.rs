//! The deck report holds what it should, escaped, in one self-contained file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{HOSTILE, assert_self_contained, image, keep, prediction};
use jiff::Timestamp;
use report_pages::{DeckReport, ScoredSlide, render_deck_report};
use slide_data::Rubric;

#[test]
fn a_deck_report_shows_each_slide_and_what_to_work_on() {
    let rubric = Rubric::default();
    let slides: Vec<ScoredSlide> = (0..9)
        .map(|index| ScoredSlide {
            number: index + 1,
            title: if index == 4 { HOSTILE.to_owned() } else { String::new() },
            image: (index != 7).then(|| image(index)),
            prediction: prediction("s", index, -0.4),
        })
        .collect();
    let page = render_deck_report(&DeckReport {
        title: HOSTILE,
        rubric: &rubric,
        slides: &slides,
        model_version: "v4",
        caveat: "Rated by a program. It has not heard your story.",
        generated_at: Timestamp::UNIX_EPOCH,
    })
    .unwrap();
    keep("deck.html", &page);
    assert_self_contained(&page);
    assert_eq!(page.matches("<section class=\"slide\"").count(), 9);
    assert_eq!(page.matches("no image").count(), 1);
    assert_eq!(page.matches("class=\"spark\"").count(), 45);
    let hostile = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;&#x2f;script&gt; &amp; &quot;Söhne&quot;, slide 5";
    assert!(page.contains(hostile) && page.contains(">Slide 4</a>"));
    assert!(page.contains("aim for") && page.contains("It has not heard your story."));
}

#[test]
fn slides_of_one_deck_are_called_by_their_numbers() {
    let slide = |number| ScoredSlide {
        number,
        title: "seed-deck.pdf".to_owned(),
        image: None,
        prediction: prediction("s", number, 0.0),
    };
    let page = render_deck_report(&DeckReport {
        title: "Deck",
        rubric: &Rubric::default(),
        slides: &[slide(1), slide(2)],
        model_version: "v4",
        caveat: "",
        generated_at: Timestamp::UNIX_EPOCH,
    })
    .unwrap();
    assert!(page.contains(">Slide 2</a>") && !page.contains("seed-deck.pdf"));
}

#[test]
fn an_empty_deck_and_a_slide_without_scores_still_make_a_page() {
    let rubric = Rubric::default();
    let mut bare = prediction("s", 1, 0.0);
    bare.distributions.clear();
    let slide = ScoredSlide { number: 1, title: String::new(), image: None, prediction: bare };
    for slides in [vec![], vec![slide]] {
        let page = render_deck_report(&DeckReport {
            title: "Deck",
            rubric: &rubric,
            slides: &slides,
            model_version: "v4",
            caveat: "",
            generated_at: Timestamp::UNIX_EPOCH,
        })
        .unwrap();
        assert_self_contained(&page);
        assert!(page.contains("not rated"));
    }
}
