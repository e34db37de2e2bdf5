//! Which slides are one, which decks are one, and what is kept apart: folders of images, copies, versions, common pages, and one deck
//! in several formats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slide_data::image::imageops::{FilterType, resize};
use slide_data::image::{ImageFormat, RgbImage};
use slide_data::{Contract as _, Manifest, SlideRecord, SourceKind, SplitRatios, Splits};

use common::support::{deck, drawn_anew, encoded, pdf, slide, slide_of, zip};
use common::{Place, images};

fn slides(place: &Place) -> Vec<SlideRecord> {
    Manifest::read(&place.raw()).unwrap().slides
}

fn png(image: &RgbImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

fn scaled(image: &RgbImage, percent: u32) -> RgbImage {
    let size = [image.width(), image.height()].map(|edge| edge * percent / 100);
    resize(image, size[0], size[1], FilterType::CatmullRom)
}

fn used(slides: &[SlideRecord]) -> BTreeSet<&str> {
    let used = slides.iter().filter(|slide| slide.duplicate_of.is_none() && !slide.excluded);
    used.map(|slide| slide.source.origin.as_str()).collect()
}

#[test]
fn no_slide_is_dropped_as_the_repeat_of_one_that_is_left_out() {
    let pages = images(1, 3);
    let previews: Vec<_> = pages.iter().map(|page| png(&scaled(page, 50))).collect();
    let pages: Vec<_> = pages.iter().map(png).collect();
    // In one run, whichever comes first; and in two.
    for runs in [vec!["a previews", "b slides"], vec!["a slides", "b previews"]] {
        for together in [true, false] {
            let place = Place::new();
            for folder in &runs {
                let files = if folder.contains("previews") { &previews } else { &pages };
                for (at, file) in files.iter().enumerate() {
                    place.write(&format!("in/{folder}/{at}.png"), file);
                }
            }
            let mut report = Value::Null;
            let inputs: Vec<String> = runs.iter().map(|folder| format!("in/{folder}")).collect();
            for inputs in inputs.chunks(if together { 2 } else { 1 }) {
                let args: Vec<&str> = inputs.iter().map(String::as_str).chain(["--json"]).collect();
                report = place.json(&args);
            }
            let counts =
                ["usable", "excluded", "duplicates", "groups"].map(|key| report[key].as_u64().unwrap());
            assert_eq!(counts, [3, 3, 3, 1], "{runs:?}, together: {together}: {report:#}");
            assert!(used(&slides(&place)).iter().all(|origin| origin.contains("slides/")));
            assert_eq!(place.run(&["verify"]).0, Some(0));
        }
    }
}

#[test]
fn the_larger_copy_is_used_unless_the_smaller_one_was_rated() {
    let pages = images(2, 4);
    let place = Place::new();
    for (at, page) in pages.iter().enumerate() {
        // A copy that was scaled up is larger and no better.
        place.write(&format!("small/{at}.png"), &png(&scaled(page, 90)));
        place.write(&format!("large/{at}.png"), &png(page));
        place.write(&format!("scaled up/{at}.png"), &png(&scaled(&scaled(page, 50), 300)));
    }
    assert_eq!(place.json(&["small", "--json"])["usable"], 4);
    let collected = slides(&place);
    let rated = &collected.iter().find(|slide| slide.source.origin == "small/1.png").unwrap().slide_id;
    let sample = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/project-files/samples/v1/ratings.jsonl"
    ));
    let line = sample.unwrap().lines().next().unwrap().replace("d0123456789ab-p001", rated);
    place.write("data/labeled/ratings.jsonl", format!("{line}\n").as_bytes());
    let report = place.json(&["large", "--json"]);
    assert_eq!((&report["usable"], &report["replaced"]), (&4.into(), &3.into()), "{report:#}");
    let wanted = BTreeSet::from(["large/0.png", "small/1.png", "large/2.png", "large/3.png"]);
    assert_eq!(used(&slides(&place)), wanted);
    let report = place.json(&["scaled up", "--json"]);
    assert_eq!((&report["usable"], &report["replaced"]), (&4.into(), &0.into()), "{report:#}");
    let after = slides(&place);
    assert_eq!(used(&after), wanted);
    // Nothing repeats a slide that repeats another.
    let repeats: BTreeMap<_, _> =
        after.iter().map(|slide| (slide.slide_id.as_str(), slide.duplicate_of.as_deref())).collect();
    for (slide, original) in repeats.iter().filter_map(|(slide, original)| Some((slide, (*original)?))) {
        assert_eq!(repeats[original], None, "{slide} repeats {original}");
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn a_folder_of_images_is_one_deck_also_as_the_argument_and_two_of_one_name_are_two() {
    let place = Place::new();
    for (client, seed) in [("alpha", 3), ("beta", 4)] {
        for (at, image) in images(seed, 3).iter().enumerate() {
            place.write(&format!("{client}/slides/{}.png", at + 1), &png(image));
        }
    }
    let report = place.json(&["alpha/slides", "--json"]);
    assert_eq!((&report["slides"], &report["decks"]), (&3.into(), &1.into()), "{report:#}");
    // In another run, and named like the first one.
    let report = place.json(&["beta/slides", "--json"]);
    assert_eq!((&report["slides"], &report["decks"]), (&6.into(), &2.into()), "{report:#}");
    let mut numbers: Vec<usize> = slides(&place).iter().map(|slide| slide.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 1, 2, 2, 3, 3]);
    // However they are named, they are known.
    for inputs in [
        &["alpha/slides"][..],
        &["beta/slides"],
        &["alpha/slides/1.png", "beta/slides/1.png"],
        &["alpha", "beta"],
    ] {
        let report = place.json(&[inputs, &["--json"]].concat());
        assert_eq!(report["unchanged"], report["inputs"], "{inputs:?}: {report:#}");
        assert_eq!((&report["slides_new"], &report["decks"]), (&0.into(), &2.into()), "{inputs:?}");
    }
}

#[test]
fn a_folder_that_an_earlier_version_named_keeps_its_deck() {
    let place = Place::new();
    let pages = images(5, 3);
    for (at, image) in pages.iter().enumerate().take(2) {
        place.write(&format!("in/acme/{}.png", at + 1), &png(image));
    }
    place.json(&["in", "--json"]);
    // As it was written then: decks by their origin, no places.
    let deck = slide_data::render::DeckName("in/acme".to_owned()).id();
    let manifest = slides(&place);
    let renamed = |text: &str| text.replace(&manifest[0].deck_id, &deck);
    for slide in &manifest {
        let image = |id: &str| Manifest::image_path(&place.raw(), id);
        std::fs::rename(image(&slide.slide_id), image(&renamed(&slide.slide_id))).unwrap();
    }
    let text = std::fs::read_to_string(place.raw().join("manifest.jsonl")).unwrap();
    place.write("data/raw/manifest.jsonl", renamed(&text).as_bytes());
    let inputs = std::fs::read_to_string(place.raw().join("inputs.jsonl")).unwrap();
    let without_place = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("place").is_some());
        format!("{line}\n")
    };
    place.write("data/raw/inputs.jsonl", inputs.lines().map(without_place).collect::<String>().as_bytes());
    place.write("in/acme/3.png", &png(&pages[2]));
    let report = place.json(&["in", "--json"]);
    assert_eq!(
        (&report["unchanged"], &report["slides"], &report["decks"]),
        (&2.into(), &3.into(), &1.into())
    );
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

const THANKS: &str = "0.1 0.2 0.5 rg 0 0 960 540 re f\n1 1 1 rg BT /F2 60 Tf 300 260 Td (Thank you) Tj ET\n";

fn legal() -> String {
    let row = |row: usize| {
        format!(
            "BT /F1 20 Tf 60 {} Td (Clause {row}: shares of this accelerator are offered to nobody in any country) Tj ET\n",
            480 - row * 44
        )
    };
    ["0.1 0.1 0.1 rg\n".to_owned()].into_iter().chain((0..9).map(row)).collect()
}

/// A deck of five slides of its own and these.
fn with_common(seed: u64, common: &[String]) -> Vec<u8> {
    let own = (1..=5).map(|number| slide(seed, number));
    pdf(&own.chain(common.iter().cloned()).collect::<Vec<_>>())
}

#[test]
fn decks_that_share_thanks_and_a_legal_notice_are_groups_of_their_own() {
    let place = Place::new();
    for seed in 0..12 {
        place.write(&format!("in/{seed}.pdf"), &with_common(200 + seed, &[legal(), THANKS.to_owned()]));
    }
    let report = place.json(&["in", "--json"]);
    let counts =
        ["slides", "decks", "groups", "duplicates", "common_pages"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [84, 12, 12, 22, 2], "{report:#}");
    let proof = place.json(&["splits", "--json"]);
    assert_eq!((&proof["shared_pages"], &proof["with_text"]), (&2.into(), &62.into()), "{proof:#}");
    let (code, out, _) = place.run(&["splits"]);
    assert!(code == Some(0) && out.contains("2 pages stand in decks of several groups"), "{out}");
    let (code, out, _) = place.run(&["in"]);
    assert!(code == Some(0) && out.contains("2 pages stand in three groups or more"), "{out}");
}

#[test]
fn decks_that_share_thanks_are_groups_of_their_own_one_after_the_other_too() {
    let place = Place::new();
    for seed in 0..5 {
        place.write(&format!("in {seed}/deck.pdf"), &with_common(220 + seed, &[THANKS.to_owned()]));
        assert_eq!(place.json(&[&format!("in {seed}"), "--json"])["groups"], seed + 1);
    }
    assert_eq!(place.run(&["splits"]).0, Some(0));
}

#[test]
fn versions_of_a_deck_are_one_group_among_decks_that_share_pages() {
    let place = Place::new();
    for seed in 0..4 {
        place.write(&format!("in/{seed}.pdf"), &with_common(240 + seed, &[THANKS.to_owned()]));
    }
    // Of five slides the second version keeps three, the third version two of these.
    let version = |own: [u64; 5]| {
        let pages = own.iter().zip(1..).map(|(&seed, number)| slide(seed, number));
        pdf(&pages.chain([THANKS.to_owned()]).collect::<Vec<_>>())
    };
    for (name, own) in
        [("v1", [260; 5]), ("v2", [260, 260, 260, 261, 261]), ("v3", [260, 260, 262, 261, 262])]
    {
        place.write(&format!("in/{name}.pdf"), &version(own));
    }
    let report = place.json(&["in", "--json"]);
    assert_eq!((&report["decks"], &report["groups"]), (&7.into(), &5.into()), "{report:#}");
    let slides = slides(&place);
    let groups = |name: &str| -> BTreeSet<&str> {
        slides.iter().filter(|s| s.source.origin == name).map(|s| s.group.as_str()).collect()
    };
    assert!(groups("in/v1.pdf").len() == 1 && groups("in/v1.pdf") == groups("in/v2.pdf"));
    assert_eq!(groups("in/v1.pdf"), groups("in/v3.pdf"));
    assert_eq!(place.run(&["splits"]).0, Some(0));
}

/// A presentation that the fake converter knows, which draws these pages.
fn presentation(place: &Place, extension: &str, pages: &[String]) -> Vec<u8> {
    let note = pages.concat();
    let bytes = match extension {
        "pptx" => zip(&[("ppt/presentation.xml", note.as_bytes())]),
        _ => zip(&[
            ("mimetype", b"application/vnd.oasis.opendocument.presentation"),
            ("content.xml", note.as_bytes()),
        ]),
    };
    place.write(&format!("converted/{}.pdf", slide_data::sha256_hex(&bytes)), &pdf(pages));
    bytes
}

/// Runs the command with a converter that looks up what it is to give.
fn with_converter(place: &Place, args: &[&str]) -> Value {
    use std::os::unix::fs::PermissionsExt;
    let script = "#!/bin/sh\nfor input; do :; done\nname=$(sha256sum < \"$input\" | cut -c1-64)\n\
        cp \"$CONVERTED/$name.pdf\" \"$(dirname \"$input\")/deck.pdf\"\n";
    place.write("bin/soffice", script.as_bytes());
    let program = place.0.path().join("bin/soffice");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", place.0.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = place.command(args);
    let output =
        command.env("PATH", path).env("CONVERTED", place.0.path().join("converted")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The group of each file, by the name of its deck.
fn groups_by_name(slides: &[SlideRecord]) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for slide in slides {
        let file = slide.source.origin.rsplit('/').next().unwrap();
        let name = file.rsplit_once('.').unwrap().0;
        groups.entry(name.to_owned()).or_default().insert(slide.group.clone());
    }
    groups
}

#[test]
fn a_deck_and_its_presentation_are_one_group_in_whatever_fonts() {
    const DECKS: u64 = 20;
    let place = Place::new();
    for seed in 0..DECKS {
        let pages: Vec<String> = (1..=6).map(|number| slide(300 + seed, number)).collect();
        let anew: Vec<String> = pages.iter().map(|page| drawn_anew(page)).collect();
        // One after the other and together, the deck itself first or last.
        place.write(&format!("{}/{seed}.pdf", if seed % 2 == 0 { "first" } else { "second" }), &pdf(&pages));
        let pptx = presentation(&place, "pptx", &anew);
        place.write(&format!("{}/{seed}.pptx", if seed % 3 == 0 { "first" } else { "second" }), &pptx);
        let odp = presentation(&place, "odp", &[&anew[..3], &pages[3..]].concat());
        place.write(&format!("second/{seed}.odp"), &odp);
    }
    with_converter(&place, &["first", "--json"]);
    let report = with_converter(&place, &["second", "--json"]);
    assert_eq!((&report["decks"], &report["groups"]), (&(3 * DECKS).into(), &DECKS.into()), "{report:#}");
    let slides = slides(&place);
    let groups = groups_by_name(&slides);
    assert!(groups.len() == 20 && groups.values().all(|groups| groups.len() == 1), "{groups:#?}");
    // What people see of a page is one slide, and of those drawn in several fonts its author's.
    let usable: Vec<_> = slides.iter().filter(|slide| slide.duplicate_of.is_none()).collect();
    let matched = slides.len() - usable.len();
    assert!(matched as f64 >= 0.95 * 12.0 * DECKS as f64, "{matched} pages were found to be drawn twice");
    let own = |slide: &&&SlideRecord| slide.source.kind == SourceKind::Pdf && slide.number <= 3;
    let drawn = usable.iter().filter(own).count();
    assert!(drawn as f64 >= 0.95 * 3.0 * DECKS as f64, "{drawn} pages of the decks themselves are used");
    // Whatever the seed is, no deck is divided.
    let sizes: BTreeMap<String, usize> = slides.iter().fold(BTreeMap::new(), |mut sizes, slide| {
        *sizes.entry(slide.group.clone()).or_default() += 1;
        sizes
    });
    for seed in 0..100 {
        let mut splits = Splits::default();
        splits.assign(&sizes, SplitRatios::default(), seed).unwrap();
        for (name, groups) in &groups {
            let sides: BTreeSet<_> = groups.iter().map(|group| splits.groups[group]).collect();
            assert_eq!(sides.len(), 1, "{name} with seed {seed}");
        }
    }
    assert_eq!(place.run(&["splits"]).0, Some(0));
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn the_proof_reads_what_decks_say() {
    let place = Place::new();
    for seed in 0..6 {
        let pages: Vec<String> = (1..=4).map(|number| slide(330 + seed, number)).collect();
        place.write(&format!("in/{seed}.pdf"), &pdf(&pages));
    }
    let anew: Vec<String> = (1..=4).map(|number| drawn_anew(&slide(330, number))).collect();
    place.write("in/again.pdf", &pdf(&anew));
    let report = place.json(&["in", "--json"]);
    assert_eq!(
        (&report["groups"], &report["duplicates"]),
        (&6.into(), &0.into()),
        "only the words tell: {report:#}"
    );
    place.json(&["splits", "--json"]);
    // As a version that did not read texts divided them.
    let mut manifest = slides(&place);
    let path = place.0.path().join("data/labeled/splits.json");
    let mut splits = Splits::read(&path).unwrap();
    let again = manifest.iter().find(|slide| slide.source.origin == "in/again.pdf").unwrap().clone();
    let side = splits.groups[&again.group];
    let other = [slide_data::Split::Train, slide_data::Split::Val].into_iter().find(|split| *split != side);
    splits.groups.insert(again.deck_id.clone(), other.unwrap());
    splits.write(&path).unwrap();
    for slide in manifest.iter_mut().filter(|slide| slide.deck_id == again.deck_id) {
        slide.group.clone_from(&again.deck_id);
    }
    for slide in
        manifest.iter_mut().filter(|slide| slide.group == again.group && slide.deck_id != again.deck_id)
    {
        slide.group.clone_from(&slide.deck_id);
        splits.groups.insert(slide.deck_id.clone(), side);
    }
    splits.write(&path).unwrap();
    SlideRecord::replace_log(&place.raw().join("manifest.jsonl"), &manifest).unwrap();
    let (code, _, err) = place.run(&["splits"]);
    assert!(code == Some(2) && err.contains("say the same"), "{err}");
}

#[test]
fn different_decks_of_one_template_stay_apart() {
    const DECKS: u64 = 36;
    let place = Place::new();
    for seed in 0..DECKS {
        // All have the template's words at the bottom of each page.
        let footer = "BT /F1 12 Tf 60 20 Td (Confidential, for investors only, spring 2026) Tj ET\n";
        let pages: Vec<String> =
            (1..=6).map(|number| slide_of(7, 400 + seed, number) + "0 0 0 rg " + footer).collect();
        place.write(&format!("in/{seed}.pdf"), &pdf(&pages));
    }
    let report = place.json(&["in", "--json"]);
    let slides = slides(&place);
    let mut decks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for slide in &slides {
        decks.entry(&slide.group).or_default().insert(&slide.deck_id);
    }
    let joined: usize = decks.values().map(|decks| decks.len() * (decks.len() - 1) / 2).sum();
    let pairs = DECKS * (DECKS - 1) / 2;
    assert!((joined as f64) < 0.005 * pairs as f64, "{joined} of {pairs} pairs: {report:#}");
}

#[test]
fn a_copy_of_a_deck_in_another_size_is_one_group_with_it() {
    let place = Place::new();
    place.write("a/deck.pdf", &deck(500, 4));
    place.json(&["a", "--json"]);
    for (at, image) in images(500, 4).iter().enumerate() {
        place.write(&format!("b/{at}.jpg"), &encoded(&scaled(image, 90), ImageFormat::Jpeg));
    }
    let report = place.json(&["b", "--json"]);
    assert_eq!(
        (&report["groups"], &report["duplicates"], &report["usable"]),
        (&1.into(), &4.into(), &4.into())
    );
    assert!(used(&slides(&place)).iter().all(|origin| *origin == "a/deck.pdf"));
}
