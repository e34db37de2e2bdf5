//! A log as segments gives the same reports as the log in one file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod production;

use std::collections::BTreeSet;
use std::io::Write as _;

use drift::{DriftConfig, DriftStatus, MonitoringConfig, PerformanceStatus, Selection};
use production::{Production, layout, look, now};
use project_files::{Contract as _, Layout};
use slide_data::prediction_log::{SegmentIndex, compact, day_of};

/// Twenty thousand slides of twenty days; `benches/segments.rs` makes any number.
const PRODUCTION: Production = Production { slides: 20_000, days: 20 };

fn config() -> MonitoringConfig {
    // Far fewer decks than there are: which ones is chosen from all days.
    let drift =
        DriftConfig { permutations: 99, max_permutations: 99, max_decks: 150, ..DriftConfig::default() };
    MonitoringConfig { drift, ..MonitoringConfig::default() }
}

fn write_log(layout: &Layout, production: Production) {
    std::fs::create_dir_all(layout.monitoring()).unwrap();
    let file = std::fs::File::create(layout.predictions()).unwrap();
    let mut file = std::io::BufWriter::new(file);
    for (at, slide) in production.all().enumerate() {
        serde_json::to_writer(&mut file, &slide).unwrap();
        file.write_all(b"\n").unwrap();
        match at % 1000 {
            400 => file.write_all(b"{\"torn\": \n").unwrap(),
            600 => {
                // The writer was not sure whether it had been written.
                serde_json::to_writer(&mut file, &slide).unwrap();
                file.write_all(b"\n").unwrap();
            }
            _ => {}
        }
    }
    file.flush().unwrap();
}

/// Both reports without the names of the files that they come from, and what was drawn.
fn reports(layout: &Layout) -> String {
    let (found, drift, accuracy) = look(layout, &config()).unwrap();
    assert_eq!((drift.sizes.recent_decks, accuracy.status), (150, PerformanceStatus::Measured));
    assert!(drift.inputs.is_empty() && drift.sizes.other_versions > 150, "{:?}", drift.sizes);
    let all = (&drift, &accuracy, &found.audits, found.counted.slides);
    serde_json::to_string_pretty(&all).unwrap()
}

#[test]
fn reports_over_segments_equal_those_over_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    write_log(&layout, PRODUCTION);
    let plain = reports(&layout);
    // Half of the days, then the others but one.
    for left in [10, 1] {
        assert!(compact(&layout, day_of(now()) - left).unwrap().slides > 8_000);
        assert!(reports(&layout) == plain, "with {left} days in the log");
    }
    assert_eq!(SegmentIndex::read(&layout.segment_index()).unwrap().parts.len(), 20);
}

#[test]
fn nothing_is_concluded_where_a_part_is_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    write_log(&layout, Production { slides: 6_000, days: 40 });
    compact(&layout, day_of(now())).unwrap();
    let index = SegmentIndex::read(&layout.segment_index()).unwrap();
    let cut = |at: usize| {
        let path = layout.segments().join(&index.parts[at].file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    };
    // A day that is not looked at is no matter.
    cut(0);
    let (found, drift, accuracy) = look(&layout, &config()).unwrap();
    assert!(found.counted.unreadable.is_empty() && drift.drift_score.is_some());
    assert!(accuracy.status == PerformanceStatus::Measured && !found.audits.is_empty());
    cut(35);
    let (found, drift, accuracy) = look(&layout, &config()).unwrap();
    assert_eq!((drift.status, drift.drift_score), (DriftStatus::Insufficient, None));
    assert_eq!(accuracy.status, PerformanceStatus::Insufficient);
    let name = &index.parts[35].file;
    for reasons in [&drift.reasons, &accuracy.reasons] {
        assert!(reasons.iter().any(|reason| reason.contains(name)), "{reasons:?}");
    }
    let day = index.parts[35].day.unwrap().to_string();
    assert!(!found.audits.iter().any(|audit| audit.scored_at.to_string().starts_with(&day)));
}

#[test]
fn slides_that_the_version_was_trained_on_are_no_production() {
    let slides: Vec<_> = Production { slides: 400, days: 2 }.all().collect();
    let seen: BTreeSet<String> = slides.iter().step_by(2).map(|slide| slide.slide_id.clone()).collect();
    let config = config().drift;
    let mut selection = Selection::new(Some("v1"), &seen, &config, now());
    for (at, slide) in slides.iter().enumerate() {
        selection.take(at, slide);
    }
    selection.end_day(day_of(now()));
    let (chosen, counted) = selection.finish();
    let chosen: Vec<usize> = chosen.into_values().flatten().collect();
    assert!(chosen.len() > 50 && counted.seen_in_training > 50, "{} {counted:?}", chosen.len());
    assert!(chosen.iter().all(|at| !seen.contains(&slides[*at].slide_id)));
}
