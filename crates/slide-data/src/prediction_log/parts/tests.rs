use std::path::{Path, PathBuf};

use project_files::{Layout, Storage};

use super::*;
use crate::prediction_log::{Columns, PredictionLog, day_of};
use crate::{Contract as _, Prediction, Score, VisionSketch};

fn plan(slides: u64, shards: usize) -> ScoringPlan {
    ScoringPlan {
        schema_version: ScoringPlan::VERSION,
        manifest: "ab".repeat(32),
        slides,
        model_version: "v3".to_owned(),
        model: "cd".repeat(32),
        batch: 4,
        shards,
        criteria: ["clarity", "design"].map(str::to_owned).to_vec(),
        features: vec!["brightness".to_owned()],
        scored_at: "2026-11-30T06:00:00Z".parse().unwrap(),
    }
}

/// The slide at a place of the manifest; every seventh is without one criterion.
fn slide(plan: &ScoringPlan, place: u64) -> Prediction {
    let mut slide = Prediction {
        id: Some(format!("{}-{place}", plan.key())),
        deck_id: format!("deck{}", place / 10),
        scored_at: plan.scored_at,
        model_version: plan.model_version.clone(),
        features: [("brightness".to_owned(), place as f64 / 7.0)].into(),
        vision: VisionSketch::new("base", &[place as f32; VisionSketch::WIDTH]),
        latency_ms: 0.0,
        ..Prediction::sample(&format!("slide{place}"))
    };
    let share = 1.0 / (place + 5) as f64;
    let shares = [share, share, share, share, 1.0 - 4.0 * share];
    slide.distributions.insert("clarity".to_owned(), shares);
    if !place.is_multiple_of(7) {
        slide.distributions.insert("design".to_owned(), [0.2; Score::LEVELS]);
    }
    slide.decide(None);
    slide
}

fn write_part(folder: &Path, plan: &ScoringPlan, shard: usize) -> PathBuf {
    let mut part = PartWriter::begin(folder, plan, shard).unwrap();
    for place in plan.range(shard) {
        if place == 5 {
            part.leave_out("slide5", "is broken".to_owned()).unwrap();
        } else {
            part.push(slide(plan, place)).unwrap();
        }
    }
    part.finish().unwrap()
}

fn all_parts(folder: &Path, slides: u64, shards: usize) -> ScoringPlan {
    let plan = plan(slides, shards).enter(folder, true).unwrap();
    // In whatever order they end.
    for shard in (0..shards).rev() {
        write_part(folder, &plan, shard);
    }
    plan
}

fn joined(folder: &Path) -> Vec<u8> {
    let path = folder.join("out/scored.parquet");
    Survey::of(folder).unwrap().join(&path).unwrap();
    std::fs::read(&path).unwrap()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn refusal(folder: &Path) -> String {
    Survey::of(folder).unwrap_err().to_string()
}

#[test]
fn shards_have_whole_blocks_and_leave_nothing_out() {
    for slides in [1, 3, 4, 17, 100, 40_000, 1_000_003] {
        for shards in [1, 2, 3, 4, 7, 64] {
            let plan = plan(slides, shards);
            let mut next = 0;
            for shard in 0..shards {
                let range = plan.range(shard);
                assert_eq!(range.start, next, "{slides} slides, shard {shard} of {shards}");
                assert!(range.start.is_multiple_of(plan.block()) || range.start == slides);
                next = range.end;
            }
            assert_eq!(next, slides);
            assert!(plan.block().is_multiple_of(plan.batch) && slides.div_ceil(plan.block()) <= 8192);
        }
    }
    let lengths: Vec<u64> =
        (0..1000).map(|shard| plan(10_000_000, 1000).range(shard)).map(|r| r.end - r.start).collect();
    let (least, most) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
    assert!(
        (*most as f64) < 1.13 * *least as f64,
        "of a thousand shards none has much more: {least} to {most}"
    );
}

#[test]
fn joined_parts_are_what_one_process_writes_to_the_byte() {
    let one = temporary();
    let plan = all_parts(one.path(), 103, 1);
    let expected = joined(one.path());
    for shards in [2, 3, 4, 26, 40] {
        let folder = temporary();
        all_parts(folder.path(), 103, shards);
        assert_eq!(joined(folder.path()), expected, "{shards} shards");
        let survey = Survey::of(folder.path()).unwrap();
        assert_eq!((survey.scored(), survey.left_out().count()), (102, 1));
    }
    let lines = one.path().join("lines.jsonl");
    Survey::write_lines(&one.path().join("out/scored.parquet"), &lines).unwrap();
    let slides = (0..103).filter(|place| *place != 5).map(|place| slide(&plan, place));
    let expected: String = slides.map(|slide| serde_json::to_string(&slide).unwrap() + "\n").collect();
    assert!(std::fs::read_to_string(&lines).unwrap() == expected);
}

#[test]
fn a_part_that_is_written_again_is_the_same_file() {
    let folder = temporary();
    let plan = all_parts(folder.path(), 40, 3);
    let before = joined(folder.path());
    write_part(folder.path(), &plan, 1);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1 + 3 + 1,
        "plan, parts, the joined file's folder"
    );
    assert_eq!(joined(folder.path()), before);
}

#[test]
fn a_part_that_ends_early_is_not_there() {
    let folder = temporary();
    let plan = plan(40, 2).enter(folder.path(), true).unwrap();
    let mut part = PartWriter::begin(folder.path(), &plan, 0).unwrap();
    part.push(slide(&plan, 0)).unwrap();
    drop(part);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the plan alone");
    let mut part = PartWriter::begin(folder.path(), &plan, 0).unwrap();
    part.push(slide(&plan, 0)).unwrap();
    let refused = part.finish().unwrap_err().to_string();
    assert!(refused.contains("1 of 20 slides"), "{refused}");
    assert!(PartWriter::begin(folder.path(), &plan, 2).is_err(), "there is no such shard");
}

#[test]
fn shards_that_are_missing_or_cut_short_are_named() {
    let folder = temporary();
    let plan = all_parts(folder.path(), 60, 4);
    let whole = Survey::of(folder.path()).unwrap();
    std::fs::remove_file(&whole.parts[&3].path).unwrap();
    let cut = &whole.parts[&1].path;
    let bytes = std::fs::read(cut).unwrap();
    std::fs::write(cut, &bytes[..bytes.len() - 9]).unwrap();
    let survey = Survey::of(folder.path()).unwrap();
    let missing: Vec<usize> = survey.missing.iter().map(|missing| missing.shard).collect();
    assert_eq!(missing, [1, 3]);
    let reasons: Vec<bool> = survey.missing.iter().map(|missing| missing.reason.is_some()).collect();
    assert_eq!(reasons, [true, false], "{:?}", survey.missing);
    let output = folder.path().join("scored.parquet");
    let refused = survey.join(&output).unwrap_err().to_string();
    assert!(refused.contains("shard 1 is missing") && !output.exists(), "{refused}");
    write_part(folder.path(), &plan, 1);
    write_part(folder.path(), &plan, 3);
    assert!(Survey::of(folder.path()).unwrap().missing.is_empty());
    assert_eq!(Survey::part_of(folder.path(), 1).unwrap().unwrap().scored, 16, "four whole blocks");
}

#[test]
fn what_belongs_to_another_scoring_is_refused_by_name() {
    type Change = fn(&mut ScoringPlan);
    let changes: [(Change, &str, &str); 7] = [
        (
            |plan| plan.manifest = "ef".repeat(32),
            "the manifest: abababababab there",
            "of the manifest efefefefefef",
        ),
        (
            |plan| plan.model_version = "v4".to_owned(),
            "the model: v3 there, v4 here",
            "scored by v4, not by v3",
        ),
        (|plan| plan.model = "00".repeat(32), "files or settings", "other files of the model"),
        (|plan| plan.shards = 5, "shards: 4 there, 5 here", "of 5"),
        (|plan| plan.batch = 8, "--batch", "other settings"),
        (|plan| plan.slides = 61, "slides of the manifest: 60 there", "other settings"),
        (|plan| plan.criteria.push("story".to_owned()), "criteria", "other settings"),
    ];
    for (change, by_plan, by_part) in changes {
        let (own, other) = (temporary(), temporary());
        let there = all_parts(own.path(), 60, 4);
        let mut changed = plan(60, 4);
        change(&mut changed);
        let refused = changed.clone().enter(own.path(), true).unwrap_err().to_string();
        assert!(refused.contains(by_plan), "{refused}");
        changed.clone().enter(other.path(), true).unwrap();
        let stranger = write_stranger(other.path(), &changed);
        let own_part = Survey::of(own.path()).unwrap().parts[&2].path.clone();
        std::fs::remove_file(&own_part).unwrap();
        std::fs::copy(&stranger, own.path().join(stranger.file_name().unwrap())).unwrap();
        let refused = refusal(own.path());
        assert!(refused.contains(by_part) && refused.contains("part-00002"), "{refused}");
        assert_eq!(ScoringPlan::read(&own.path().join("plan.json")).unwrap(), there, "nothing was changed");
    }
}

fn write_stranger(folder: &Path, plan: &ScoringPlan) -> PathBuf {
    let mut part = PartWriter::begin(folder, plan, 2).unwrap();
    for place in plan.range(2) {
        part.push(slide(plan, place)).unwrap();
    }
    part.finish().unwrap()
}

#[test]
fn two_parts_of_a_shard_that_differ_are_refused() {
    let folder = temporary();
    let plan = all_parts(folder.path(), 60, 4);
    let mut part = PartWriter::begin(folder.path(), &plan, 2).unwrap();
    for place in plan.range(2) {
        part.push(Prediction { latency_ms: 1.0, ..slide(&plan, place) }).unwrap();
    }
    part.finish().unwrap();
    let refused = refusal(folder.path());
    assert!(refused.contains("are both of shard 2 and differ"), "{refused}");
}

#[test]
fn the_time_of_a_scoring_is_that_of_the_plan_whatever_clocks_say() {
    let folder = temporary();
    let first = plan(8, 2).enter(folder.path(), false).unwrap();
    let late = ScoringPlan { scored_at: "2031-01-01T00:00:00Z".parse().unwrap(), ..plan(8, 2) };
    assert_eq!(late.clone().enter(folder.path(), false).unwrap(), first);
    let refused = late.enter(folder.path(), true).unwrap_err().to_string();
    assert!(refused.contains("the time of scoring: 2026-11-30T06:00:00Z there"), "{refused}");
    assert!(refused.contains("a folder of its own"), "{refused}");
}

#[test]
fn what_is_no_part_or_no_plan_is_refused() {
    let folder = temporary();
    assert!(Survey::of(folder.path()).is_err(), "no plan");
    let plan = all_parts(folder.path(), 8, 1);
    std::fs::write(folder.path().join("part-of-a-cake.parquet"), b"x").unwrap();
    assert!(refusal(folder.path()).contains("has no name of a part"));
    std::fs::remove_file(folder.path().join("part-of-a-cake.parquet")).unwrap();
    let mut part = PartWriter::begin(folder.path(), &plan, 0).unwrap();
    let mut odd = slide(&plan, 0);
    odd.expected.insert("story".to_owned(), 3.0);
    assert!(part.push(odd).unwrap_err().to_string().contains("what the plan does not know"));
    let empty = ScoringPlan { shards: 0, ..plan };
    assert!(empty.check().is_err());
}

#[test]
fn the_log_takes_a_scoring_once() {
    let folder = temporary();
    let storage = Storage { monitoring_dir: folder.path().join("monitoring"), ..Storage::default() };
    let layout = Layout::new(&storage, &folder.path().join("outputs"));
    let parts = folder.path().join("parts");
    let plan = all_parts(&parts, 60, 4);
    let survey = Survey::of(&parts).unwrap();
    let output = parts.join("scored.parquet");
    survey.join(&output).unwrap();
    assert!(survey.log(&output, &layout).unwrap());
    assert!(!survey.log(&output, &layout).unwrap(), "it is there");
    let mut log = PredictionLog::open(&layout).unwrap();
    log.verify(0).unwrap();
    assert!(log.unreadable().is_empty(), "{:?}", log.unreadable());
    let mut read = Vec::new();
    log.for_each_of(day_of(plan.scored_at), Columns::All, |_, slide| {
        read.push(slide.slide_id.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(read.len(), 59);
    assert_eq!((read[0].as_str(), read[58].as_str()), ("slide0", "slide59"));
}

#[test]
fn a_plan_of_this_version_is_read_for_ever() {
    let stored = serde_json::json!({
        "schema_version": 1, "manifest": "ab".repeat(32), "slides": 60, "model_version": "v3", "model": "cd".repeat(32), "batch": 4,
        "shards": 4, "criteria": ["clarity", "design"], "features": ["brightness"], "scored_at": "2026-11-30T06:00:00Z",
    });
    let read = ScoringPlan::parse(Path::new("plan.json"), None, stored.to_string().as_bytes()).unwrap();
    assert_eq!(read, plan(60, 4));
}
