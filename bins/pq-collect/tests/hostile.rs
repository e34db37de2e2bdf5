//! Input and surroundings that a user has on a bad day.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use slide_data::image::ImageFormat;

use common::support::{encoded, zip};
use common::{Place, images, support};

fn png(seed: u64) -> Vec<u8> {
    encoded(&images(seed, 1)[0], ImageFormat::Png)
}

/// Files that cannot become slides, each with words of the reason.
fn bad_files(jpeg: &[u8]) -> [(&'static str, Vec<u8>, &'static str); 14] {
    let nested = (0..5).fold(zip(&[("a.png", &png(7))]), |inner, _| zip(&[("inner.zip", &inner)]));
    let mut huge = encoded(&images(4, 1)[0], ImageFormat::Bmp);
    huge[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]); // 60,000 × 60,000
    let secret = String::from_utf8(support::deck(5, 1)).unwrap().replace(
        "/Root 1 0 R",
        "/Root 1 0 R /Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> /U <ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> >> /ID [<00> <00>]",
    );
    let odp = b"application/vnd.oasis.opendocument.presentation";
    let locked = b"<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>";
    [
        ("broken.pdf", b"%PDF-1.7 nothing follows".to_vec(), "cannot be read"),
        ("empty.pdf", Vec::new(), "is empty (0 bytes)"),
        ("secret.pdf", secret.into_bytes(), "password"),
        ("10000 pages.pdf", support::pdf(&vec![String::new(); 10_000]), "10000 pages"),
        ("truncated.jpg", jpeg[..jpeg.len() / 2].to_vec(), "ends early"),
        ("half a header.png", b"\x89PNG is what it says".to_vec(), "neither an image"),
        ("60000x60000.bmp", huge, "60000 × 60000"),
        ("bomb.zip", zip(&[("zeros.bmp", &vec![0; 3 << 20])]), "max_unpacked_mib"),
        ("escape.zip", zip(&[("../../evil.png", &png(6))]), "leaves the archive"),
        ("nested.zip", nested, "archive within 3 archives"),
        ("secret.odp", zip(&[("mimetype", odp), ("META-INF/manifest.xml", locked)]), "password"),
        (
            "report.docx",
            zip(&[("[Content_Types].xml", b"<Types/>"), ("word/media/1.png", &png(8))]),
            "not a presentation",
        ),
        ("decks.zip", zip(&[("deck.pptx", &zip(&[("ppt/presentation.xml", b"<x/>")]))]), "LibreOffice"),
        ("fake.pptx", b"not a presentation".to_vec(), "neither an image"),
    ]
}

#[test]
fn every_bad_file_costs_one_line_and_the_good_ones_come_in() {
    let place = Place::new();
    let jpeg = encoded(&images(3, 1)[0], ImageFormat::Jpeg);
    let bad = bad_files(&jpeg);
    for (name, bytes, _) in &bad {
        place.write(&format!("in/{name}"), bytes);
    }
    place.write("in/a deck 🚀 with spaces/1.png", &png(10));
    place.write("in/one/same name.png", &png(11));
    place.write("in/two/same name.png", &png(12));
    place.write("in/caf\u{e9}/1.png", &png(13));
    place.write("in/cafe\u{301}/2.png", &png(14));
    place.write("in/JPEG named as.png", &jpeg);
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.0.path().join("in"), place.0.path().join("in/one/loop")).unwrap();
    let report = place.json(&["in", "--json", "--set", "limits.max_unpacked_mib=2"]);
    assert_eq!(report["slides_new"], 6, "{report:#}");
    assert_eq!(report["decks"], 5, "the two spellings of café are one deck");
    let lines: Vec<(String, String)> = report["set_aside"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            (line["origin"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(lines.len(), bad.len(), "{lines:#?}");
    for (name, _, words) in &bad {
        let found = lines.iter().find(|(origin, _)| origin.contains(name));
        assert!(found.is_some_and(|(_, reason)| reason.contains(words)), "{name}: {found:?}");
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn two_folders_of_one_name_stay_two_decks_and_a_second_run_changes_nothing() {
    let place = Place::new();
    for (at, folder) in ["a/deck", "b/deck"].iter().enumerate() {
        let image = &images(20 + at as u64, 1)[0];
        place.write(&format!("{folder}/1.png"), &encoded(image, ImageFormat::Png));
    }
    let report = place.json(&["a/deck", "b/deck", "--json"]);
    assert_eq!((&report["slides_new"], &report["decks"]), (&2.into(), &2.into()));
    let again = place.json(&["a/deck", "b/deck", "--json"]);
    assert_eq!(again["unchanged"], 2);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_cost_a_line_each() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    place.write("in/good.pdf", &support::deck(25, 1));
    for name in [b"caf\xe9.pdf".as_slice(), b"caf\xe8.pdf"] {
        let path = place.0.path().join("in").join(OsStr::from_bytes(name));
        std::fs::write(path, support::deck(26, 1)).unwrap();
    }
    let report = place.json(&["in", "--json"]);
    assert_eq!(report["slides_new"], 1, "{report:#}");
    let lines = report["set_aside"].as_array().unwrap();
    for name in ["in/caf\\xE8.pdf", "in/caf\\xE9.pdf"] {
        let line = lines.iter().find(|line| line["origin"] == name);
        assert!(line.is_some_and(|line| line["reason"].as_str().unwrap().contains("not UTF-8")), "{lines:?}");
    }
    assert_eq!(lines.len(), 2);
    assert_eq!(place.json(&["in", "--json"])["unchanged"], 3);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_soon_and_keeps_what_is_done() {
    let place = Place::new();
    for seed in 0..20 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(60 + seed, 4));
    }
    let mut command = place.command(&["in", "--json", "--jobs", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let manifest = place.raw().join("manifest.jsonl");
    let start = Instant::now();
    while !manifest.exists() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    let done = report["slides"].as_u64().unwrap();
    assert!(done > 0 && done < 80, "{done}");
    assert_eq!(place.run(&["verify"]).0, Some(0));
    assert_eq!(place.json(&["in", "--json"])["slides"], 80);
}

/// A reader that hangs is ended in time; the slides of other files come in.
#[cfg(unix)]
#[test]
fn a_presentation_whose_converter_hangs_is_set_aside_in_time() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let deck = zip(&[("ppt/presentation.xml", b"<x/>")]);
    place.write("in/slow.pptx", &deck);
    place.write("in/good.pdf", &support::deck(120, 1));
    place.write("bin/soffice", b"#!/bin/sh\necho $$ > \"$PIDS\"\nsleep 600 &\necho $! >> \"$PIDS\"\nwait\n");
    let program = place.0.path().join("bin/soffice");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pids = place.0.path().join("pids");
    let path = format!("{}:{}", place.0.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = place.command(&["in", "--json", "--set", "limits.time_limit_s=1"]);
    let output = command.env("PATH", path).env("PIDS", &pids).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["slides_new"], 1);
    assert!(report["set_aside"][0]["reason"].as_str().unwrap().contains("time_limit_s"), "{report}");
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        let mut is_alive = true;
        for _ in 0..50 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            is_alive = !stat.is_empty() && !stat.contains(") Z ");
            if !is_alive {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_alive, "the converter's process {pid} outlived the run");
    }
    assert!(!place.raw().join(".staging").exists());
}

#[test]
fn without_libreoffice_a_presentation_says_what_to_install_and_is_tried_again_later() {
    let place = Place::new();
    place.write("in/deck.pptx", &zip(&[("ppt/presentation.xml", b"<x/>")]));
    let output = place.command(&["in", "--json"]).env("PATH", "/nowhere").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["set_aside"][0]["reason"].as_str().unwrap().contains("libreoffice-impress"), "{report}");
    let again = place.command(&["in", "--json"]).env("PATH", "/nowhere").output().unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["unchanged"], 0);
}
