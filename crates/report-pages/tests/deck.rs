//! The deck report holds what it should, escaped, in one self-contained file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use base64::Engine as _;
use common::{HOSTILE, assert_self_contained, image, keep, prediction};
use jiff::Timestamp;
use report_pages::{CorrectionForm, DeckReport, Familiar, REPORT_SCRIPT, ScoredSlide, render_deck_report};
use sha2::{Digest as _, Sha256};
use slide_data::{Rubric, Score};

/// The page of a deck of which nothing but its slides is known.
fn shown(slides: &[ScoredSlide]) -> String {
    render_deck_report(&DeckReport {
        title: "Deck",
        rubric: &Rubric::default(),
        slides,
        model_version: "v4",
        caveat: "",
        quality: "",
        older: None,
        failed: &[],
        corrections: CorrectionForm::None,
        generated_at: Timestamp::UNIX_EPOCH,
    })
    .unwrap()
}

#[test]
fn a_deck_report_shows_each_slide_and_what_to_work_on() {
    let rubric = Rubric::default();
    let slides: Vec<ScoredSlide> = (0..9)
        .map(|index| ScoredSlide {
            number: index + 1,
            title: if index == 4 { HOSTILE.to_owned() } else { String::new() },
            image: (index != 7).then(|| image(index)),
            prediction: prediction("s", index, -0.4),
            familiar: Familiar::default(),
        })
        .collect();
    let page = render_deck_report(&DeckReport {
        title: HOSTILE,
        rubric: &rubric,
        slides: &slides,
        model_version: "v4",
        caveat: "Rated by a program. It has not heard your story.",
        quality: "On 80 slides of 8 decks it was within one point of people.",
        older: None,
        failed: &[format!("page 12: {HOSTILE}")],
        corrections: CorrectionForm::None,
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
fn where_people_disagree_their_scores_stand_in_place_of_one() {
    let ends = |low, high| [low, high].map(|score| Score::new(score).unwrap());
    let mut said = prediction("s", 1, 0.0);
    said.interval = [("clarity".to_owned(), ends(2, 5)), ("design".to_owned(), ends(3, 5))].into();
    let slide = ScoredSlide {
        number: 1,
        title: String::new(),
        image: None,
        prediction: said,
        familiar: Familiar::default(),
    };
    let page = shown(&[slide]);
    assert_eq!(page.matches("people disagree here").count(), 1, "three points apart, not two");
    assert!(page.contains("<span class=\"value\">2 to 5</span>"));
    assert!(page.contains("people disagree, 2 to 5 of 5\""), "told to whoever does not see it");
    assert_self_contained(&page);
}

#[test]
fn slides_of_one_deck_are_called_by_their_numbers() {
    let slide = |number| ScoredSlide {
        number,
        title: "seed-deck.pdf".to_owned(),
        image: None,
        prediction: prediction("s", number, 0.0),
        familiar: Familiar::default(),
    };
    let page = shown(&[slide(1), slide(2)]);
    assert!(page.contains(">Slide 2</a>") && !page.contains("seed-deck.pdf"));
}

#[test]
fn an_empty_deck_and_a_slide_without_scores_still_make_a_page() {
    let rubric = Rubric::default();
    let mut bare = prediction("s", 1, 0.0);
    bare.distributions.clear();
    let slide = ScoredSlide {
        number: 1,
        title: String::new(),
        image: None,
        prediction: bare,
        familiar: Familiar::default(),
    };
    for slides in [vec![], vec![slide]] {
        let page = render_deck_report(&DeckReport {
            title: "Deck",
            rubric: &rubric,
            slides: &slides,
            model_version: "v4",
            caveat: "",
            quality: "",
            older: None,
            failed: &[],
            corrections: CorrectionForm::None,
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
        ScoredSlide {
            number,
            title: "seed".to_owned(),
            image: None,
            prediction: rated,
            familiar: Familiar::default(),
        }
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
        older: None,
        failed: &[],
        corrections: CorrectionForm::None,
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

#[test]
fn scores_can_be_corrected_where_a_service_shows_the_page() {
    let rubric = Rubric::default();
    let mut scored = prediction(HOSTILE, 1, 0.0);
    scored.distributions.remove("data_visualization");
    scored.decide(None);
    let ratings = [("design".to_owned(), [3, 5, 2].map(|score| Score::new(score).unwrap()).to_vec())];
    let familiar = Familiar { ratings: ratings.into(), is_unlike: true };
    let slides =
        [ScoredSlide { number: 1, title: String::new(), image: None, prediction: scored.clone(), familiar }];
    let page = |corrections| {
        let report = DeckReport {
            title: "Deck",
            rubric: &rubric,
            slides: &slides,
            model_version: "v4",
            caveat: "",
            quality: "",
            older: None,
            failed: &[],
            corrections,
            generated_at: Timestamp::UNIX_EPOCH,
        };
        render_deck_report(&report).unwrap()
    };
    let plain = page(CorrectionForm::None);
    assert_self_contained(&plain);
    assert!(
        plain.contains("<dt>Design</dt><dd>3, 5, 2</dd>") && plain.contains("Unlike what the model knows")
    );
    for of_form in ["<button", "<script", "data-slide-id", "<textarea", "script-src"] {
        assert!(!plain.contains(of_form), "{of_form}");
    }
    let served = page(CorrectionForm::Service);
    assert_eq!(served.matches("<button").count(), 30, "five scores and none, of five criteria");
    assert_eq!(served.matches("disabled").count(), 5, "what the model says is no correction");
    assert!(served.contains("aria-label=\"Data visualization: not applicable, as the model says\""));
    let clarity =
        format!(" data-score=\"{}\" aria-label=\"Clarity: ", scored.score("clarity").unwrap().get());
    assert!(
        served.contains(&clarity)
            && served.contains(&format!("{SHUT}; script-src 'self'; connect-src 'self'\">"))
    );
    assert!(served.contains("data-slide-id=\"&lt;script&gt;"), "an id is escaped as everything is");
    assert_eq!(served.matches("<script").count(), 1);
    assert!(!served.contains("id=\"tray\"") && !served.contains("class=\"undo\""), "what was sent is sent");
}

/// What the policy of every page is but for scripts.
const SHUT: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

#[test]
fn a_report_that_is_a_file_runs_its_form_and_nothing_else() {
    let rubric = Rubric::default();
    let mut scored = prediction(HOSTILE, 1, 0.0);
    scored.decide(None);
    scored.model_version = HOSTILE.to_owned();
    scored.expected.insert("clarity".to_owned(), 2.125);
    scored.expected.insert("design".to_owned(), f64::NAN);
    let slide = |number| ScoredSlide {
        number,
        title: HOSTILE.to_owned(),
        image: None,
        prediction: scored.clone(),
        familiar: Familiar::default(),
    };
    let slides = [slide(1), slide(2)];
    let page = |title, seconds| {
        render_deck_report(&DeckReport {
            title,
            rubric: &rubric,
            slides: &slides,
            model_version: HOSTILE,
            caveat: "",
            quality: "",
            older: None,
            failed: &[],
            corrections: CorrectionForm::File,
            generated_at: Timestamp::from_second(seconds).unwrap(),
        })
        .unwrap()
    };
    let file = page(HOSTILE, 0);
    keep("deck-to-correct.html", &file);
    let (before, rest) = file.split_once("<script>").unwrap();
    let (script, after) = rest.split_once("</script>").unwrap();
    assert_eq!(script, REPORT_SCRIPT);
    assert_self_contained(&format!("{before}{after}"));
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
    assert!(file.contains(&format!("content=\"{SHUT}; script-src 'sha256-{hash}'\">")), "this script alone");
    assert_eq!(file.matches("class=\"undo\"").count(), 10, "each criterion of each slide can be undone");
    assert_eq!(file.matches("data-predicted=\"2.125\"").count(), 2, "what the model had said");
    assert_eq!(file.matches("data-predicted").count(), 8, "a mean that is none is left out");
    assert!(file.contains("data-file=\"corrections-script-alert-x-script-Söhne.jsonl\""));
    assert!(
        file.contains("data-model-version=\"&lt;script&gt;") && file.contains("pq-score corrections FILE")
    );
    let report = |page: &str| page.split_once("data-report=\"").unwrap().1[..64].to_owned();
    assert_eq!(report(&file), report(&page(HOSTILE, 0)));
    assert_ne!(report(&file), report(&page(HOSTILE, 1)), "a report that is made anew is another one");
}
