//! Drawn decks: the same for a seed, different for another, readable, and showing what they are worth.

use sample_decks::{
    Deck, Format, Item, Kind, Latents, Order, Quality, Scene, Slide, Topic, render_pdf, render_png,
    write_decks,
};

const MIDDLE: Quality = Quality {
    clarity: 3.0,
    design: 3.0,
    data_visualization: Some(3.0),
    readability: 3.0,
    content_quality: 3.0,
};

/// The mean of a measurement over slides that differ in nothing but one criterion's quality.
fn mean(change: impl Fn(&mut Quality), measure: impl Fn(&Slide) -> f64) -> f64 {
    let slides = (0..40).map(|seed| {
        let mut quality = MIDDLE;
        change(&mut quality);
        measure(&Slide::of_quality(seed, Topic::Traction, quality))
    });
    slides.sum::<f64>() / 40.0
}

/// Asserts that a measurement moves strictly one way from quality 1 over 3 to 5.
fn assert_moves(name: &str, set: impl Fn(&mut Quality, f64), rises: bool, measure: impl Fn(&Slide) -> f64) {
    let [low, middle, high] = [1.0, 3.0, 5.0].map(|value| mean(|quality| set(quality, value), &measure));
    let is_ordered = if rises { low < middle && middle < high } else { low > middle && middle > high };
    assert!(is_ordered, "{name}: {low:.2} {middle:.2} {high:.2}");
}

fn count(slide: &Slide, kind: Kind) -> f64 {
    slide.scene.elements.iter().filter(|element| element.kind == kind).count() as f64
}

fn body(slide: &Slide, measure: impl Fn(&sample_decks::Element) -> f64) -> f64 {
    let texts: Vec<f64> =
        slide.scene.elements.iter().filter(|element| element.kind == Kind::Body).map(measure).collect();
    texts.iter().sum::<f64>() / texts.len().max(1) as f64
}

#[test]
fn every_quality_shows_in_what_is_drawn() {
    assert_moves("words", |q, v| q.clarity = v, false, |slide| slide.look.words as f64);
    assert_moves("headline", |q, v| q.clarity = v, true, |slide| slide.look.headline_size);
    assert_moves("blocks", |q, v| q.clarity = v, false, |slide| slide.look.blocks as f64);
    assert_moves("stickers", |q, v| q.design = v, false, |slide| count(slide, Kind::Sticker));
    assert_moves("offset", |q, v| q.design = v, false, |slide| slide.look.jitter);
    assert_moves("text size", |q, v| q.readability = v, true, |slide| body(slide, |e| e.size));
    assert_moves("contrast", |q, v| q.readability = v, true, |slide| body(slide, |e| e.contrast));
    assert_moves("figures", |q, v| q.content_quality = v, true, |slide| count(slide, Kind::Figure));
    assert_moves("tags", |q, v| q.content_quality = v, false, |slide| count(slide, Kind::Pill));
    let chart = |slide: &Slide| slide.look.chart.clone().unwrap();
    assert_moves("parts", |q, v| q.data_visualization = Some(v), false, |s| chart(s).categories as f64);
    assert_moves("grid", |q, v| q.data_visualization = Some(v), false, |s| chart(s).grid);
}

#[test]
fn a_quality_moves_only_its_own_attributes() {
    let words = |readability: f64| mean(|q| q.readability = readability, |slide| slide.look.headline_size);
    assert!((words(1.0) - words(5.0)).abs() < 0.5);
    let size = |design: f64| mean(|q| q.design = design, |slide| slide.look.body_size);
    assert!((size(1.0) - size(5.0)).abs() < 0.5);
}

#[test]
fn no_chart_is_drawn_where_data_visualization_does_not_apply() {
    let quality = Quality { data_visualization: None, ..MIDDLE };
    for seed in 0..10 {
        let slide = Slide::of_quality(seed, Topic::Market, quality);
        assert!(slide.scene.elements.iter().all(|e| !matches!(e.kind, Kind::Chart | Kind::Table)));
        assert!(slide.form.is_none());
    }
    assert!(Slide::of_quality(1, Topic::Market, MIDDLE).form.is_some());
}

#[test]
fn the_same_seed_draws_the_same_deck_and_another_seed_another() {
    let (first, again) = (Deck::draw(5, 2), Deck::draw(5, 2));
    assert_eq!(first, again);
    assert_eq!(render_pdf(&first.scenes()).unwrap(), render_pdf(&again.scenes()).unwrap());
    assert_ne!(first.scenes(), Deck::draw(6, 2).scenes());
    assert_ne!(first.scenes(), Deck::draw(5, 3).scenes());
}

#[test]
fn decks_tell_their_story_in_order() {
    for index in 0..20 {
        let slides = Deck::draw(1, index).slides;
        assert!((6..=11).contains(&slides.len()), "{}", slides.len());
        assert_eq!((slides[0].topic, slides[slides.len() - 1].topic), (Topic::Title, Topic::Ask));
    }
}

#[test]
fn everything_that_matters_lies_on_the_page() {
    for slide in Deck::draw(3, 0).slides {
        for element in slide.scene.elements.iter().filter(|e| matches!(e.kind, Kind::Headline | Kind::Figure))
        {
            let area = element.area;
            assert!(area.x > -40.0 && area.y > -40.0 && area.right() < Scene::WIDTH + 60.0, "{element:?}");
        }
        assert!(slide.scene.items.iter().any(|item| matches!(item, Item::Text { .. })));
    }
}

#[test]
fn a_pdf_can_be_read_and_has_the_decks_pages() {
    let deck = Deck::draw(2, 0);
    let pdf = hayro::hayro_syntax::Pdf::new(render_pdf(&deck.scenes()).unwrap()).unwrap();
    assert_eq!(pdf.pages().len(), deck.slides.len());
    for (page, slide) in pdf.pages().iter().zip(&deck.slides).take(3) {
        let (width, height) = page.render_dimensions();
        assert!((width - 960.0).abs() < 0.5 && (height - 540.0).abs() < 0.5, "{width} {height}");
        let png = render_png(&slide.scene, 320).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 2_000);
    }
}

#[test]
fn a_page_of_no_width_is_refused() {
    let error = render_png(&Deck::draw(1, 0).slides[0].scene, 0).unwrap_err();
    assert!(error.to_string().contains("0 pixels"), "{error}");
}

#[test]
fn latents_are_found_by_file_and_by_image() {
    let dir = tempfile::tempdir().unwrap();
    let order = Order { decks: 4, seed: 9, format: Format::Mixed, width: 96 };
    let written = write_decks(dir.path(), &order).unwrap();
    let latents = Latents::read(&dir.path().join(sample_decks::LATENTS_FILE)).unwrap();
    assert_eq!(written.decks.len(), 4);
    let (pdf, folder): (Vec<&String>, Vec<&String>) =
        latents.decks.keys().partition(|name| name.contains(".pdf"));
    assert_eq!((pdf.len(), folder.len()), (3, 1));
    assert_eq!(latents.quality(&format!("some/where/{}", pdf[0]), Some(2)), Some(latents.decks[pdf[0]][1]));
    let image = format!("{}/slide-03.png", folder[0]);
    assert!(dir.path().join(&image).is_file());
    assert_eq!(latents.quality(&image, None), Some(latents.decks[folder[0]][2]));
    for unknown in ["other.pdf", "slide-03.png", "x/slide-0.png", ""] {
        assert_eq!(latents.quality(unknown, Some(1)), None, "{unknown}");
    }
    assert_eq!(latents.quality(pdf[0], Some(0)), None);
    assert_eq!(latents.quality(pdf[0], Some(99)), None);
}

#[test]
fn a_broken_latents_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latents.json");
    std::fs::write(&path, b"{\"schema_version\": 1, \"decks\": 3").unwrap();
    let error = Latents::read(&path).unwrap_err().to_string();
    assert!(error.contains("latents.json"), "{error}");
}

#[test]
fn a_deck_that_was_worked_on_differs_in_those_slides_alone() {
    let before = Deck::draw(3, 1);
    let after = Deck::worked_on(3, 1, |place, quality| {
        let better = Quality { readability: (quality.readability + 2.0).min(5.0), ..*quality };
        (place % 3 == 1).then_some(better)
    });
    assert_eq!(before.slides.len(), after.slides.len());
    for (place, (old, new)) in before.slides.iter().zip(&after.slides).enumerate() {
        assert_eq!((old == new, old.topic), (place % 3 != 1, new.topic), "slide {}", place + 1);
        assert_eq!(old.quality.clarity.to_bits(), new.quality.clarity.to_bits());
    }
}
