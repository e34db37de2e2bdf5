//! Scored slides are kept by content, for as long and as many as is set, by several processes at once.
#![cfg(feature = "image")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use project_files::KeptFiles;
use slide_data::image::{Rgb, RgbImage};
use slide_data::{Contract as _, Error, KeptConfig, KeptSlide, KeptSlides, SlideRecord, pixels_sha256};

fn at(days: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (20_000 + days))
}

fn image(shade: u8) -> RgbImage {
    RgbImage::from_fn(40, 30, |x, y| Rgb([shade, (x * 6) as u8, (y * 8) as u8]))
}

fn slide(id: &str, image: &RgbImage, days: i64) -> KeptSlide {
    let SlideRecord { schema_version, source, .. } = SlideRecord::sample("deck", 1);
    KeptSlide {
        schema_version,
        slide_id: id.to_owned(),
        deck_id: "deck".to_owned(),
        deck: "A deck".to_owned(),
        number: 1,
        source,
        sha256: pixels_sha256(image),
        scored_at: at(days),
    }
}

struct Place {
    _dir: tempfile::TempDir,
    files: KeptFiles,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = KeptFiles::new(dir.path().join("monitoring/kept"));
        Self { _dir: dir, files }
    }

    fn open(&self, config: KeptConfig) -> KeptSlides {
        KeptSlides::open(self.files.clone(), config).unwrap()
    }

    fn lines(&self) -> usize {
        std::fs::read_to_string(self.files.index()).map_or(0, |text| text.lines().count())
    }

    fn ids(&self) -> Vec<String> {
        KeptSlides::read(&self.files).unwrap().into_keys().collect()
    }

    fn images(&self) -> usize {
        let entries = std::fs::read_dir(self.files.root()).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "png")).count()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `prune` asks may fail")]
fn nothing() -> Result<BTreeSet<String>, Error> {
    Ok(BTreeSet::new())
}

#[test]
fn an_image_is_kept_once_and_comes_back_as_it_was() {
    let place = Place::new();
    let (one, two) = (image(10), image(200));
    let mut kept = place.open(KeptConfig::default());
    let slides = [(slide("a", &one, 0), &one), (slide("b", &one, 0), &one), (slide("c", &two, 0), &two)];
    kept.keep(&slides).unwrap();
    kept.keep(&slides).unwrap();
    // Another process, which reads what is there.
    place.open(KeptConfig::default()).keep(&slides).unwrap();
    assert_eq!((place.lines(), place.images()), (3, 2));
    for (slide, image) in &slides {
        assert_eq!(&KeptSlides::image(&place.files, slide).unwrap(), *image);
    }
    // A day later it is noted anew, so that it stays as long as a new one.
    kept.keep(&[(slide("a", &one, 1), &one)]).unwrap();
    assert_eq!((place.lines(), KeptSlides::read(&place.files).unwrap()["a"].scored_at), (4, at(1)));
    std::fs::write(place.files.image(&pixels_sha256(&one)), b"not an image").unwrap();
    assert!(KeptSlides::image(&place.files, &slides[0].0).is_err());
    std::fs::copy(place.files.image(&pixels_sha256(&two)), place.files.image(&pixels_sha256(&one))).unwrap();
    let other = KeptSlides::image(&place.files, &slides[0].0).unwrap_err().to_string();
    assert!(other.contains("not the image that was scored"), "{other}");
}

#[test]
fn switched_off_nothing_is_kept() {
    let place = Place::new();
    let one = image(10);
    let mut kept = place.open(KeptConfig { enabled: false, ..KeptConfig::default() });
    kept.keep(&[(slide("a", &one, 0), &one)]).unwrap();
    assert_eq!(kept.prune(at(900), nothing).unwrap(), 0);
    assert!(!place.files.root().exists());
}

#[test]
fn the_oldest_go_first_and_what_is_needed_stays() {
    let place = Place::new();
    let images: Vec<RgbImage> = (0..6).map(|shade| image(shade * 40)).collect();
    let mut kept = place.open(KeptConfig { max_days: 10.0, ..KeptConfig::default() });
    let slides: Vec<(KeptSlide, &RgbImage)> = images
        .iter()
        .zip(0..)
        .map(|(image, day)| (slide(&format!("s{day}"), image, day * 4), image))
        .collect();
    kept.keep(&slides).unwrap();
    assert_eq!(
        kept.prune(at(10), || Err(Error::NoSuchSlide("asked".to_owned()))).unwrap(),
        0,
        "none is too old"
    );
    // At day 20 those of days 0, 4 and 8 are too old; one of them is needed.
    let failed = kept.prune(at(20), || Err(Error::NoSuchSlide("asked".to_owned())));
    assert!(failed.is_err() && place.ids().len() == 6, "what may be needed is not removed");
    let needed = || Ok::<_, Error>(["s1".to_owned()].into());
    assert_eq!(kept.prune(at(20), needed).unwrap(), 2);
    assert_eq!((place.ids(), place.images()), (["s1", "s3", "s4", "s5"].map(str::to_owned).to_vec(), 4));
    // Too much: nothing but what is needed fits.
    let mut small = place.open(KeptConfig { max_mib: 0, ..KeptConfig::default() });
    assert_eq!(small.prune(at(20), needed).unwrap(), 3);
    assert_eq!((place.ids(), place.images(), place.lines()), (vec!["s1".to_owned()], 1, 1));
    // What was removed is kept again when it is scored again, by a process that began before.
    kept.keep(&[(slide("s5", &images[5], 20), &images[5])]).unwrap();
    assert_eq!((place.ids().len(), place.images()), (2, 2));
}

#[test]
fn an_image_of_two_slides_stays_while_one_of_them_does() {
    let place = Place::new();
    let one = image(10);
    let mut kept = place.open(KeptConfig { max_days: 10.0, ..KeptConfig::default() });
    kept.keep(&[(slide("old", &one, 0), &one), (slide("new", &one, 9), &one)]).unwrap();
    assert_eq!(kept.prune(at(15), nothing).unwrap(), 1);
    assert_eq!((place.ids(), place.images()), (vec!["new".to_owned()], 1));
    // A clock that went back removes nothing.
    assert_eq!(kept.prune(at(-400), nothing).unwrap(), 0);
}

#[test]
fn several_processes_keep_and_remove_at_once() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for worker in 0..4u8 {
            let place = &place;
            scope.spawn(move || {
                let config = KeptConfig { max_days: 5.0, ..KeptConfig::default() };
                let mut kept = place.open(config);
                for round in 0..12u8 {
                    let shared = image(round);
                    let own = image(100 + worker * 12 + round);
                    let day = i64::from(round);
                    let id = format!("w{worker}-{round}");
                    kept.keep(&[
                        (slide(&id, &own, day), &own),
                        (slide(&format!("{id}-s"), &shared, day), &shared),
                    ])
                    .unwrap();
                    kept.prune(at(day), nothing).unwrap();
                }
            });
        }
    });
    let kept = KeptSlides::read(&place.files).unwrap();
    assert!(kept.len() >= 4 * 2 * 6, "{}", kept.len());
    for slide in kept.values() {
        KeptSlides::image(&place.files, slide).unwrap();
    }
    assert!(KeptSlide::read_log(&place.files.index()).unwrap().defects.is_empty());
}

#[test]
fn a_slide_that_a_newer_program_kept_stops_nobody_and_stays_with_its_image() {
    let place = Place::new();
    let [old, new, of_newer] = [10, 100, 200].map(image);
    let mut kept = place.open(KeptConfig { max_days: 10.0, ..KeptConfig::default() });
    kept.keep(&[(slide("old", &old, 0), &old), (slide("new", &new, 14), &new)]).unwrap();
    let mut line = serde_json::to_value(slide("newer", &of_newer, 0)).unwrap();
    line["schema_version"] = 9.into();
    let before = std::fs::read_to_string(place.files.index()).unwrap();
    std::fs::write(place.files.index(), format!("{line}\n{before}")).unwrap();
    of_newer.save(place.files.image(&pixels_sha256(&of_newer))).unwrap();
    assert_eq!(place.ids(), ["new", "old"]);
    assert_eq!(
        place.open(KeptConfig { max_days: 10.0, ..KeptConfig::default() }).prune(at(15), nothing).unwrap(),
        1
    );
    assert_eq!((place.ids(), place.lines(), place.images()), (vec!["new".to_owned()], 2, 2));
    assert!(std::fs::read_to_string(place.files.index()).unwrap().starts_with(&format!("{line}\n")));
}
