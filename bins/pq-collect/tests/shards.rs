//! Collecting in shards gives the store that one process makes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use slide_data::Manifest;
use slide_data::image::ImageFormat;

use common::same::{assert_same, copy_of, done};
use common::support::{deck, encoded};
use common::{Place, images};

const AT: [&str; 2] = ["--collected-at", "2026-11-30T06:00:00Z"];

/// Seven decks: documents, a folder of images that repeats two pages of the first document, smaller, and a file that is none.
fn place() -> Place {
    let place = Place::new();
    for (number, pages) in [(1, 4), (2, 3), (3, 5), (4, 2), (5, 3)] {
        place.write(&format!("data/raw/manual_uploads/deck{number}.pdf"), &deck(number, pages));
    }
    for (number, image) in images(1, 4).iter().enumerate().take(2) {
        let file = encoded(image, ImageFormat::Png);
        place.write(&format!("data/raw/manual_uploads/zz copies/{number}.png"), &file);
    }
    place.write("data/raw/manual_uploads/broken.pdf", b"%PDF-1.7 nothing");
    place
}

fn shard(place: &Place, number: usize, count: usize) -> (Option<i32>, String, String) {
    place.run(&[&["--shard", &format!("{number}/{count}")], &AT[..]].concat())
}

#[test]
fn shards_taken_together_are_what_one_process_collects() {
    let alone = place();
    let sharded = copy_of(&alone);
    let (one_more, many) = (copy_of(&alone), copy_of(&alone));
    done(alone.run(&AT));
    let slides = Manifest::read(&alone.raw()).unwrap().slides;
    let repeats = slides.iter().filter(|slide| slide.duplicate_of.is_some()).count();
    assert_eq!((slides.len(), repeats), (19, 2), "the copies repeat pages of a deck of another shard");
    for number in [3, 0, 2, 1] {
        done(shard(&sharded, number, 4));
    }
    assert!(!sharded.raw().join("manifest.jsonl").exists(), "nothing is in the store before all are there");
    done(sharded.run(&[&["merge"], &AT[..]].concat()));
    assert_same(&alone, &sharded);
    assert!(!sharded.raw().join("shards").exists());
    done(one_more.run(&[&["--jobs", "1"], &AT[..]].concat()));
    assert_same(&alone, &one_more);
    // More shards than files, and one of them twice.
    for number in (0..9).chain([4]) {
        done(shard(&many, number, 9));
    }
    done(many.run(&[&["merge"], &AT[..]].concat()));
    assert_same(&alone, &many);
    let again = done(many.run(&[]));
    assert!(again.contains("0 slides new"), "{again}");
}

#[test]
fn what_is_missing_or_does_not_belong_is_named_and_nothing_changes() {
    let place = place();
    let merge = |place: &Place| place.run(&["merge"]);
    let refused = |result: (Option<i32>, String, String), why: &str| {
        assert!(result.0 == Some(2) && result.2.contains(why), "{why}: {result:?}");
        assert!(!place.raw().join("manifest.jsonl").exists(), "{why}");
    };
    refused(merge(&place), "holds no shards");
    done(shard(&place, 0, 3));
    done(shard(&place, 2, 3));
    let (code, out, _) = merge(&place);
    assert!(code == Some(1) && out.contains("--array=1 and --shard /3"), "{out}");
    done(shard(&place, 1, 3));
    let manifest = place.raw().join("shards/00000-of-00003/manifest.jsonl");
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[..whole.len() - 30]).unwrap();
    let (code, out, err) = merge(&place);
    assert!(code == Some(1) && out.contains("Run again: 0 ") && err.contains("cut short"), "{out} {err}");
    std::fs::write(&manifest, &whole).unwrap();
    done(shard(&place, 1, 2));
    refused(merge(&place), "are of 2: take one kind away");
    std::fs::remove_dir_all(place.raw().join("shards/00001-of-00002")).unwrap();
    refused(place.run(&["merge", "--set", "limits.longest_edge=500"]), "other limits or rules");
    place.write("data/raw/manual_uploads/new.pdf", &deck(9, 2));
    refused(merge(&place), "is of other files than there are now");
    refused(place.run(&["--shard", "0/3", "https://example.org/a.pdf"]), "do not ask the web");
    refused(place.run(&["--shard", "3/3"]), "there is no shard 3 of 3");
    // The files as they are now: what was read is not read again.
    for number in 0..3 {
        done(shard(&place, number, 3));
    }
    done(merge(&place));
    assert_eq!(Manifest::read(&place.raw()).unwrap().slides.len(), 21);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn a_shard_adds_to_what_is_there() {
    let place = place();
    done(place.run(&["data/raw/manual_uploads/deck1.pdf"]));
    let before = std::fs::read_to_string(place.raw().join("manifest.jsonl")).unwrap();
    for number in 0..2 {
        done(shard(&place, number, 2));
    }
    let first = Manifest::read(&place.raw().join("shards/00000-of-00002")).unwrap().slides;
    assert!(first.iter().all(|slide| !slide.source.origin.contains("deck1.pdf")), "it is known");
    done(place.run(&["merge"]));
    let after = std::fs::read_to_string(place.raw().join("manifest.jsonl")).unwrap();
    assert!(after.starts_with(&before), "what was there stays as it is");
    assert_eq!(Manifest::read(&place.raw()).unwrap().slides.len(), 19);
}

/// A shard that two jobs run at once, the one after the other and both at the same time: one of them may be told that the other is at it.
#[test]
fn two_jobs_on_one_shard_come_to_what_one_makes() {
    let alone = place();
    let twice = copy_of(&alone);
    for number in [0, 1, 1] {
        let ask =
            || twice.command(&[&["--shard", &format!("{number}/2")], &AT[..]].concat()).output().unwrap();
        let outputs =
            std::thread::scope(|scope| [0; 3].map(|_| scope.spawn(ask)).map(|job| job.join().unwrap()));
        let codes = outputs.each_ref().map(|output| output.status.code());
        assert!(codes.contains(&Some(0)), "{codes:?}");
        for output in outputs.iter().filter(|output| output.status.code() != Some(0)) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && said.contains("no other run is working"), "{said}");
        }
    }
    // So may two that take the shards together.
    let merge = || twice.command(&[&["merge"], &AT[..]].concat()).output().unwrap();
    let codes = std::thread::scope(|scope| [0; 2].map(|_| scope.spawn(merge)).map(|job| job.join().unwrap()))
        .map(|output| output.status.code());
    assert!(
        codes.contains(&Some(0)) && codes.iter().all(|code| [Some(0), Some(2)].contains(code)),
        "{codes:?}"
    );
    done(alone.run(&AT));
    assert_same(&alone, &twice);
}

/// One machine's clock is five years ahead, another's five behind: slides, their order, groups and splits are the same.
#[test]
fn clocks_that_disagree_change_nothing_but_the_time_that_is_noted() {
    let alone = place();
    let skewed = copy_of(&alone);
    for (number, at) in
        [(0, "2031-01-01T00:00:00Z"), (1, "2021-01-01T00:00:00Z"), (2, "2026-11-30T06:00:00Z")]
    {
        done(skewed.run(&["--shard", &format!("{number}/3"), "--collected-at", at]));
    }
    done(skewed.run(&[&["merge"], &AT[..]].concat()));
    done(alone.run(&AT));
    let slides = |place: &Place| {
        let mut slides = Manifest::read(&place.raw()).unwrap().slides;
        for slide in &mut slides {
            slide.collected_at = AT[1].parse().unwrap();
        }
        slides
    };
    assert_eq!(slides(&alone), slides(&skewed));
    for place in [&alone, &skewed] {
        done(place.run(&["splits"]));
        assert_eq!(place.run(&["verify"]).0, Some(0));
    }
    let splits =
        |place: &Place| std::fs::read_to_string(place.0.path().join("data/labeled/splits.json")).unwrap();
    assert_eq!(splits(&alone), splits(&skewed));
}
