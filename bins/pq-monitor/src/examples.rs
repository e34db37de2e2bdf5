//! The slides that the page shows, as far as their images are kept.

use std::collections::BTreeMap;

use drift::DriftReport;
use pq_cli::Layout;
use report_pages::{ExampleSlide, Image, MediaType};
use slide_data::imaging::thumbnail;
use slide_data::{KeptSlide, KeptSlides};

/// Enough to recognise a slide by.
const WIDTH: u32 = 480;

/// An image for each deck that the report names, where one is kept: of the slide that is named, else of the deck's first.
pub(crate) fn images(layout: &Layout, report: &DriftReport) -> BTreeMap<String, ExampleSlide> {
    let named = report.decks.iter().map(|deck| (deck.deck_id.as_str(), Some(deck.example_slide.as_str())));
    let unlike =
        report.vision.iter().flat_map(|vision| &vision.most_unlike).map(|deck| (deck.as_str(), None));
    let mut wanted: BTreeMap<&str, Option<&str>> = unlike.collect();
    wanted.extend(named);
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let kept = KeptSlides::read(&layout.kept()).unwrap_or_else(|error| {
        tracing::warn!("the page shows no slides: {error}");
        BTreeMap::new()
    });
    let image = |(deck, slide): (&str, Option<&str>)| {
        let own = kept.values().filter(|slide| slide.deck_id == deck);
        let slide = slide.and_then(|id| kept.get(id)).or_else(|| own.min_by_key(|slide| slide.number))?;
        let name =
            format!("{}, slide {}", if slide.deck.is_empty() { deck } else { &slide.deck }, slide.number);
        Some((deck.to_owned(), ExampleSlide { name, image: small(layout, slide)? }))
    };
    wanted.into_iter().filter_map(image).collect()
}

/// A slide that cannot be shown is only a warning: the report says what it says.
fn small(layout: &Layout, slide: &KeptSlide) -> Option<Image> {
    let whole = KeptSlides::image(&layout.kept(), slide);
    let whole = whole.inspect_err(|error| tracing::warn!("the page shows a slide less: {error}")).ok()?;
    let bytes = thumbnail(&whole, WIDTH).ok()?;
    Some(Image { media_type: MediaType::Jpeg, bytes })
}

#[cfg(test)]
mod tests {
    use drift::MovedDeck;
    use project_files::Contract as _;
    use slide_data::image::{Rgb, RgbImage};
    use slide_data::{KeptConfig, SlideRecord, pixels_sha256};

    use super::*;

    #[test]
    fn the_named_slide_is_shown_else_one_of_its_deck_and_a_broken_one_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let storage = project_files::Storage { monitoring_dir: dir.path().to_owned(), ..Default::default() };
        let layout = Layout::new(&storage, std::path::Path::new("outputs"));
        let kept = |deck: &str, number: usize, shade: u8| {
            let image = RgbImage::from_pixel(960, 540, Rgb([shade; 3]));
            let SlideRecord { slide_id, deck_id, source, .. } = SlideRecord::sample(deck, number);
            let sha256 = pixels_sha256(&image);
            let scored_at = jiff::Timestamp::UNIX_EPOCH;
            (
                KeptSlide {
                    schema_version: 1,
                    slide_id,
                    deck_id,
                    deck: String::new(),
                    number,
                    source,
                    sha256,
                    scored_at,
                },
                image,
            )
        };
        let all = [kept("a", 1, 10), kept("a", 2, 200), kept("b", 4, 90), kept("b", 3, 30), kept("c", 1, 60)];
        let pairs: Vec<(KeptSlide, &RgbImage)> =
            all.iter().map(|(slide, image)| (slide.clone(), image)).collect();
        KeptSlides::open(layout.kept(), KeptConfig::default())
            .and_then(|mut all| all.keep(&pairs))
            .expect("kept");
        std::fs::write(layout.kept().image(&all[4].0.sha256), "cut short").expect("written");

        let sample =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/project-files/samples/v2/latest_drift.json");
        let mut report = DriftReport::read(std::path::Path::new(sample)).expect("a report");
        let moved = |deck: &str, slide: &str| MovedDeck {
            deck_id: deck.to_owned(),
            slides: 2,
            distance: 3.0,
            features: Vec::new(),
            example_slide: slide.to_owned(),
        };
        report.decks = vec![moved("a", "a-2"), moved("b", "gone"), moved("c", "c-1"), moved("d", "d-1")];
        let shown = images(&layout, &report);
        let shade = |deck: &str| {
            let image =
                slide_data::image::load_from_memory(&shown[deck].image.bytes).expect("JPEG").to_rgb8();
            assert_eq!(image.dimensions(), (480, 270));
            image.get_pixel(100, 100).0[0]
        };
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(shown["b"].name, "b, slide 3");
        assert!(shade("a").abs_diff(200) < 4 && shade("b").abs_diff(30) < 4);
        report.decks.clear();
        assert!(images(&layout, &report).is_empty());
    }
}
