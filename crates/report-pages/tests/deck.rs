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
        quality: "On 80 slides of 8 decks it was within one point of people.",
        failed: &[format!("page 12: {HOSTILE}")],
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
    assert!(page.contains("aim for") && page.contains("It has not heard your story. On 80 slides"));
    assert!(page.contains("Not rated") && page.contains("<li>page 12: &lt;script&gt;"));
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
        quality: "",
        failed: &[],
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
            quality: "",
            failed: &[],
            generated_at: Timestamp::UNIX_EPOCH,
        })
        .unwrap();
        assert_self_contained(&page);
        assert!(page.contains("not rated"));
    }
}

#[test]
fn the_weakest_slides_come_first_and_covers_last() {
    let slide = |number: usize, edges: f64, shift: f64| {
        let mut rated = prediction("s", number, shift);
        rated.features.insert("edge_density".to_owned(), edges);
        rated.distributions.values_mut().for_each(|p| *p = [0.0; 5]);
        let level = (shift as usize).clamp(1, 5) - 1;
        rated.distributions.values_mut().for_each(|p| p[level] = 1.0);
        if number == 3 {
            rated.distributions.remove("data_visualization");
            rated.applies.insert("data_visualization".to_owned(), 0.1);
        }
        ScoredSlide { number, title: "seed".to_owned(), image: None, prediction: rated }
    };
    let slides = [
        slide(1, 0.01, 1.0),
        slide(2, 0.1, 4.0),
        slide(3, 0.12, 2.0),
        slide(4, 0.1, 3.0),
        slide(5, 0.1, 5.0),
    ];
    let page = render_deck_report(&DeckReport {
        title: "Deck",
        rubric: &Rubric::default(),
        slides: &slides,
        model_version: "v4",
        caveat: "",
        quality: "",
        failed: &[],
        generated_at: Timestamp::UNIX_EPOCH,
    })
    .unwrap();
    let order: Vec<usize> = page
        .match_indices("<section class=\"slide\" id=\"slide-")
        .map(|(at, found)| page[at + found.len()..].split('"').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(order, [3, 4, 2, 5, 1]);
    assert_eq!(page.matches("cover or closing slide<").count(), 1);
    assert!(page.contains("lowest mean: <a href=\"#slide-3\">"), "a cover is not what to work on");
    assert!(page.contains("Does not apply here: Data visualization."));
    assert!(page.contains("Data visualization: on 4 of 5 slides."), "the mean says of how many");
}
