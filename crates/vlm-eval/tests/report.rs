//! The pages hold what they should, escaped, in one self-contained file.
//!
//! With `VLM_EVAL_PAGES=<folder>` the pages are also written there, to be looked at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{
    DeckReport, Evaluation, EvaluationInput, EvaluationOptions, Image, Item, MediaType, Report, ScoredSlide,
    evaluate, render_deck_report, render_report,
};

const HOSTILE: &str = "<script>alert('x')</script> & \"Söhne\"";

/// A drawn slide: title bar, text lines and columns, told apart by `seed`.
fn image(seed: usize) -> Image {
    let bar =
        |x: usize, h: usize| format!("<rect x='{x}' y='{}' width='60' height='{h}' fill='#4a7'/>", 320 - h);
    let bars: String = (0..4).map(|i| bar(60 + 90 * i, 40 + (seed * 37 + i * 53) % 160)).collect();
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='640' height='360'><rect width='640' height='360' fill='#fff'/><rect x='40' y='30' width='{}' height='28' fill='#235'/>{bars}</svg>",
        200 + (seed * 71) % 350
    );
    Image { media_type: MediaType::Png, bytes: svg.into_bytes() }
}

fn distribution(center: f64, sharpness: f64) -> [f64; 5] {
    let raw: [f64; 5] = std::array::from_fn(|i| (-sharpness * (i as f64 + 1.0 - center).powi(2)).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|p| p / total)
}

fn prediction(slide_id: &str, index: usize, shift: f64) -> Prediction {
    let rubric = Rubric::default();
    let center = |c: usize| 1.0 + ((index * 7 + c * 3) % 41) as f64 / 10.0 + shift;
    let distributions = rubric.keys().zip(0..).map(|(key, c)| {
        (key.to_owned(), distribution(center(c).clamp(1.0, 5.0), 0.4 + 0.3 * (index % 4) as f64))
    });
    Prediction {
        schema_version: 1,
        slide_id: slide_id.to_owned(),
        deck_id: "deck".to_owned(),
        sha256: String::new(),
        scored_at: Timestamp::UNIX_EPOCH,
        model_version: "v4".to_owned(),
        distributions: distributions.collect(),
        expected: BTreeMap::new(),
        features: BTreeMap::new(),
        latency_ms: 1.0,
    }
}

fn evaluation(rubric: &Rubric, shift: f64) -> Evaluation {
    let item = |index: usize| {
        let slide_id = if index == 0 { HOSTILE.to_owned() } else { format!("seed-deck-{index:02}") };
        let truth = |c: usize| 1.0 + ((index * 7 + c * 3 + index % 3) % 41) as f64 / 10.0;
        let score = |c: usize| Score::new(truth(c).round() as u8);
        let scores = rubric.keys().zip(0..).map(|(key, c)| (key.to_owned(), score(c))).collect();
        let counts = |c: usize| -> [u32; 5] {
            std::array::from_fn(|i| {
                u32::from(Some(i) == score(c).map(Score::index)) * 2 + u32::from(i == (index + c) % 5)
            })
        };
        Item {
            prediction: prediction(&slide_id, index, shift),
            group: format!("deck-{}", index / 5),
            label: Label {
                scores,
                distribution: rubric.keys().zip(0..).map(|(key, c)| (key.to_owned(), counts(c))).collect(),
                ..Label::default()
            },
            slide_id,
        }
    };
    let items: Vec<Item> = (0..60).map(item).collect();
    let inputs = BTreeMap::from([("labels.json".to_owned(), "9f".repeat(32))]);
    let input = EvaluationInput {
        rubric,
        items: &items,
        train_labels: None,
        champion: None,
        before: None,
        model_version: "run 2025-03-01",
        inputs: &inputs,
        options: EvaluationOptions::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    let before = evaluate(&input).expect("items are valid").results.comparison("Before training");
    evaluate(&EvaluationInput { before: Some(&before), ..input }).expect("items are valid")
}

fn keep(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("VLM_EVAL_PAGES") {
        std::fs::write(
            std::path::Path::new(&folder).join(name),
            page.replace("data:image/png", "data:image/svg+xml"),
        )
        .expect("the folder can be written");
    }
}

/// One file: nothing is fetched, nothing runs, no template is left.
fn assert_self_contained(page: &str) {
    for forbidden in ["<script", "http://", "https://", "{{", "{%", "NaN", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
}

#[test]
fn a_validation_report_says_the_verdict_first_and_shows_the_misses() {
    let rubric = Rubric::default();
    for (name, shift, verdict) in [("passed.html", 0.0, "Passed"), ("failed.html", 1.2, "Not passed")] {
        let evaluation = evaluation(&rubric, shift);
        let images = evaluation.worst_slides(12).zip(0..).map(|(id, i)| (id.to_owned(), image(i))).collect();
        let page = render_report(&Report {
            evaluation: &evaluation,
            rubric: &rubric,
            title: HOSTILE,
            facts: &[("Adapter".to_owned(), HOSTILE.to_owned())],
            images: &images,
            caveats: &["A tiny model on drawn decks says nothing about real ones.".to_owned()],
        })
        .unwrap();
        keep(name, &page);
        assert_self_contained(&page);
        assert!(page.contains(&format!("<h2 id=\"verdict\">{verdict}")), "{name}");
        assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 12);
        for part in [
            "Data visualization",
            "Before training",
            "One more person",
            "Best constant",
            "labels.json",
            "within one point",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for reason in &evaluation.results.reasons {
            let start: String = reason.chars().take(30).collect();
            assert!(page.contains(&start.replace('\'', "&#x27;")), "{reason}");
        }
    }
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
