use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use project_files::{Layout, Storage};

use super::compact::{Step, compact_until};
use super::index::NEW;
use super::*;
use crate::{Contract as _, Prediction, Result, Score, VisionSketch};

fn layout(dir: &Path) -> Layout {
    let storage = Storage { monitoring_dir: dir.join("monitoring"), ..Storage::default() };
    Layout::new(&storage, &dir.join("outputs"))
}

fn at(days: f64) -> Timestamp {
    let start: Timestamp = "2025-05-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(days * 86_400.0)
}

/// The day on which nothing is over yet.
fn today() -> i64 {
    day_of(at(9.0))
}

/// A slide with something of everything, or with little.
fn slide(number: usize, when: Timestamp) -> Prediction {
    let mut rng = fastrand::Rng::with_seed(number as u64);
    let mut slide = Prediction {
        deck_id: format!("deck {}", number / 7),
        sha256: format!("{:064x}", rng.u128(..)),
        scored_at: when,
        model_version: format!("v{}", number % 3),
        latency_ms: rng.f64() * 100.0,
        ..Prediction::sample(&format!("ünï-{number}"))
    };
    if number.is_multiple_of(2) {
        slide.id = Some(format!("id-{number}"));
    }
    for key in ["clarity", "a.b", "1"].into_iter().take(number % 4) {
        let shares = [rng.f64(), rng.f64(), rng.f64(), rng.f64(), rng.f64()];
        let total: f64 = shares.iter().sum();
        slide.distributions.insert(key.to_owned(), shares.map(|share| share / total));
        slide.features.insert(format!("of {key}"), rng.f64() * 1e-9);
    }
    if number.is_multiple_of(3) {
        slide.decide(None);
        slide.applies.insert("charts".to_owned(), rng.f64());
    }
    if !number.is_multiple_of(5) {
        let projected = std::array::from_fn(|_| rng.f32() - 0.5);
        slide.vision = VisionSketch::new("base", &projected);
    }
    slide
}

/// Slides of ten days, and among them lines that nobody can read, of a later program, of another century.
fn lines(count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..count {
        let when = at(10.0 * number as f64 / count as f64);
        let line = serde_json::to_string(&slide(number, when)).unwrap();
        match number % 41 {
            5 => lines.push("{\"schema_version\":1,\"slide_id\":\"to".to_owned()),
            11 => lines.push(line.replace("\"schema_version\":1", "\"schema_version\":7")),
            17 => lines.push("{\"expected\": NaN}".to_owned()),
            23 => lines.push(line.replace("\"latency_ms\"", "\"of_a_later_program\":[1,2],\"latency_ms\"")),
            29 => lines.push(line.replace("2025-05", "1066-10")),
            37 => lines.push(String::new()),
            _ => lines.push(line),
        }
    }
    lines
}

fn write(layout: &Layout, lines: &[String]) {
    std::fs::create_dir_all(layout.monitoring()).unwrap();
    std::fs::write(layout.predictions(), lines.join("\n") + "\n{\"torn").unwrap();
}

/// Everything that a log holds, day by day, and how many lines cannot be read.
fn everything(layout: &Layout) -> (BTreeMap<i64, Vec<Prediction>>, usize, usize) {
    let mut log = PredictionLog::open(layout).unwrap();
    log.verify(i64::MIN).unwrap();
    assert!(log.unreadable().is_empty(), "{:?}", log.unreadable());
    let mut all = BTreeMap::new();
    for day in log.days(..) {
        let mut slides = Vec::new();
        log.for_each_of(day, Columns::All, |_, slide| {
            slides.push(slide.clone());
            Ok(())
        })
        .unwrap();
        all.insert(day, slides);
    }
    assert_eq!(log.defects().torn_bytes, 6);
    (all, log.len(), log.defects().broken_lines)
}

#[test]
fn a_log_says_the_same_before_and_after_its_days_were_moved() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let lines = lines(500);
    write(&layout, &lines);
    let before = everything(&layout);
    assert!(before.0.len() > 10 && before.2 > 30, "{:?}", before.0.keys());
    let moved = compact(&layout, today()).unwrap();
    assert!(moved.days == 9 && moved.slides > 350 && moved.lines > 30, "{moved:?}");
    assert_eq!(everything(&layout), before);
    let left = std::fs::read_to_string(layout.predictions()).unwrap();
    assert!(left.lines().count() < 60 && left.ends_with("{\"torn"), "today's lines stay: {left}");
    // Late lines become a further part of their day; moving again when nothing is over moves nothing.
    let late = serde_json::to_string(&slide(7001, at(3.5))).unwrap();
    std::fs::write(layout.predictions(), left.replacen('{', &format!("{late}\n{{"), 1)).unwrap();
    assert_eq!(compact(&layout, today()).unwrap(), Compacted { days: 1, slides: 1, lines: 0 });
    assert_eq!(compact(&layout, today()).unwrap(), Compacted::default());
    let after = everything(&layout);
    assert_eq!(after.1, before.1 + 1);
    assert_eq!(after.0[&day_of(at(3.5))].last(), Some(&slide(7001, at(3.5))));
}

#[test]
fn what_is_asked_for_is_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    write(&layout, &lines(300));
    let mut plain = BTreeMap::new();
    for is_moved in [false, true] {
        if is_moved {
            compact(&layout, today()).unwrap();
        }
        let log = PredictionLog::open(&layout).unwrap();
        let mut found = Vec::new();
        for day in log.days(day_of(at(2.0))..day_of(at(5.0))) {
            log.for_each_of(day, Columns::Scores, |place, slide| {
                let scores = (slide.distributions.clone(), slide.chosen.clone());
                found.push((day, place, slide.slide_id.clone(), slide.scored_at, scores));
                Ok(())
            })
            .unwrap();
        }
        let places: BTreeSet<usize> = [0, 3, 17].into();
        let three = log.slides_at(day_of(at(2.0)), &places).unwrap();
        let newest = log.newest_of(&|slide| slide.ends_with('4')).unwrap();
        assert!(three.len() == 3 && newest.len() > 20, "{} {}", three.len(), newest.len());
        let latest = log.latest_version(at(4.0)).unwrap();
        let named = log.with_id("id-122").unwrap();
        assert!(named.is_some() && log.with_id("id-1").unwrap().is_none());
        let all = format!("{found:?} {three:?} {newest:?} {latest:?} {named:?}");
        assert_eq!(*plain.entry(0).or_insert_with(|| all.clone()), all);
    }
}

#[test]
fn an_id_that_comes_again_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let once = serde_json::to_string(&slide(2, at(1.0))).unwrap();
    let other = serde_json::to_string(&slide(4, at(1.0))).unwrap();
    let without = serde_json::to_string(&slide(3, at(1.0))).unwrap();
    let again = [&once, &without, &once, &other, &without].map(Clone::clone);
    write(&layout, &again);
    for is_moved in [false, true] {
        if is_moved {
            compact(&layout, today()).unwrap();
            // And once more after its day was moved.
            std::fs::write(layout.predictions(), format!("{once}\n{{\"torn")).unwrap();
        }
        let (all, lines, _) = everything(&layout);
        let ids: Vec<Option<String>> = all[&day_of(at(1.0))].iter().map(|slide| slide.id.clone()).collect();
        assert_eq!(ids, [Some("id-2".to_owned()), None, Some("id-4".to_owned()), None]);
        assert_eq!(lines, 5 + usize::from(is_moved));
    }
}

/// A process that dies at a step.
fn die_at(step: Step) -> impl FnMut(Step) -> Result<()> {
    move |reached| {
        if reached == step { Err(Error::Damaged("killed".to_owned())) } else { Ok(()) }
    }
}

#[test]
fn a_process_that_dies_while_it_moves_loses_and_doubles_nothing() {
    let lines = lines(300);
    for step in [Step::Written, Step::Listed, Step::Renamed, Step::Replaced, Step::Done] {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        write(&layout, &lines);
        let before = everything(&layout);
        assert!(compact_until(&layout, today(), &mut die_at(step)).is_err());
        assert_eq!(everything(&layout), before, "read as it was left at {step:?}");
        // It dies once more at each point before it comes through, and writers go on meanwhile.
        for next in [Step::Written, Step::Listed, Step::Renamed, Step::Replaced] {
            let _ = compact_until(&layout, today(), &mut die_at(next));
            assert_eq!(everything(&layout), before, "{step:?}, then {next:?}");
        }
        let more = slide(9001, at(4.2));
        let torn = std::fs::read_to_string(layout.predictions()).unwrap();
        let mended = format!(
            "{}{}\n{{\"torn",
            torn.trim_end_matches("{\"torn"),
            serde_json::to_string(&more).unwrap()
        );
        std::fs::write(layout.predictions(), mended).unwrap();
        compact(&layout, today()).unwrap();
        let (all, count, broken) = everything(&layout);
        assert_eq!((count, broken), (before.1 + 1, before.2), "{step:?}");
        assert_eq!(all[&day_of(at(4.2))].last(), Some(&more));
        assert_eq!(compact(&layout, today()).unwrap(), Compacted::default());
        let hidden = std::fs::read_dir(layout.segments())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(NEW));
        assert_eq!(hidden.count(), 0);
    }
}

fn part_of(layout: &Layout, day: i64) -> PathBuf {
    let index = SegmentIndex::read(&layout.segment_index()).unwrap();
    let part = index.parts.iter().find(|part| part.day.and_then(day_number) == Some(day)).unwrap();
    layout.segments().join(&part.file)
}

#[test]
fn a_part_that_is_cut_short_changed_missing_or_strange_is_named_and_the_others_are_read() {
    let day = day_of(at(2.0));
    for (what, damage) in [
        (
            "cut short",
            (|path: &Path| {
                let bytes = std::fs::read(path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }) as fn(&Path),
        ),
        ("changed", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("strange", |path| {
            std::fs::rename(path, path.with_file_name("renamed.parquet")).unwrap();
        }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        write(&layout, &lines(300));
        compact(&layout, today()).unwrap();
        let part = part_of(&layout, day);
        damage(&part);
        let mut log = PredictionLog::open(&layout).unwrap();
        log.verify(i64::MIN).unwrap();
        let name = part.file_name().unwrap().to_string_lossy().into_owned();
        let named = log.unreadable().iter().any(|part| part.reason.contains(&name) && part.day == Some(day));
        assert!(named, "{what}: {:?}", log.unreadable());
        assert!(!log.days(..).contains(&day) && log.days(..).len() > 8, "{what}");
        assert_eq!(log.unreadable().len(), if what == "strange" { 2 } else { 1 });
        drop(log); // while it is open nothing is moved or taken out
        assert!(remove(&layout, &|_| true).is_err() && part_of(&layout, day) == part, "{what}");
    }
}

#[test]
fn a_list_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    write(&layout, &lines(60));
    compact(&layout, today()).unwrap();
    let text = std::fs::read_to_string(layout.segment_index()).unwrap();
    std::fs::write(layout.segment_index(), text.replacen("2025-05-01-", "../2025-05-01-", 1)).unwrap();
    assert!(PredictionLog::open(&layout).unwrap_err().to_string().contains("segments.json"));
}

#[test]
fn what_is_removed_is_in_no_file_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    write(&layout, &lines(300));
    let before = everything(&layout);
    // One half moved and another move that died: all of it is looked through.
    compact(&layout, day_of(at(4.0))).unwrap();
    let _ = compact_until(&layout, today(), &mut die_at(Step::Renamed));
    let is_meant = |slide: &Prediction| slide.deck_id.ends_with('3') || slide.scored_at < at(1.0);
    let removed = remove(&layout, &is_meant).unwrap();
    assert!(removed.lines > 0 && removed.past > 0, "{removed:?}");
    let (all, _, broken) = everything(&layout);
    let mut expected = before.0;
    for slides in expected.values_mut() {
        slides.retain(|slide| !is_meant(slide));
    }
    expected.retain(|_, slides| !slides.is_empty());
    assert_eq!(all, expected);
    assert_eq!(broken, before.2, "lines that nobody can read stay");
    assert_eq!(remove(&layout, &is_meant).unwrap(), Removed::default());
    let index = SegmentIndex::read(&layout.segment_index()).unwrap();
    let files = std::fs::read_dir(layout.segments()).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let parts: BTreeSet<String> =
        files.filter(|name| name != "segments.json" && !name.contains(".lock")).collect();
    assert_eq!(parts, index.parts.into_iter().map(|part| part.file).collect());
}

#[test]
fn a_slide_with_more_keys_than_a_segment_has_room_for_is_kept_as_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let mut wide = slide(1, at(1.0));
    wide.features = (0..1000).map(|key| (format!("{key}"), 0.5)).collect();
    wide.chosen.insert("odd".to_owned(), Score::new(2).unwrap());
    let all = [wide, slide(2, at(1.1))].map(|slide| serde_json::to_string(&slide).unwrap());
    write(&layout, &all);
    let before = everything(&layout);
    assert_eq!(compact(&layout, today()).unwrap(), Compacted { days: 1, slides: 1, lines: 1 });
    let (mut found, count, _) = everything(&layout);
    for slides in found.values_mut() {
        slides.sort_by_key(|slide| slide.scored_at);
    }
    assert_eq!((found, count), (before.0, before.1));
}
