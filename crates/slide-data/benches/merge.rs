//! How long joining parts takes, and how much memory: `cargo bench -p slide-data --features segments --bench merge -- [SLIDES [SHARDS]]`.
//!
//! Ten million slides in a thousand parts, unless told otherwise, with five criteria, ten properties and a sketch as real ones have; seeded.
//! Writing the parts is not counted. Everything lies in a folder of `TMPDIR` (about 13 GB), which is removed.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reports on stdout, and stops at a surprise"
)]

use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use slide_data::prediction_log::parts::{PartWriter, ScoringPlan, Survey};
use slide_data::{Contract as _, Prediction, Score, VisionSketch};

const CRITERIA: [&str; 5] = ["clarity", "content_quality", "data_visualization", "design", "readability"];
const FEATURES: [&str; 10] = [
    "aspect_ratio",
    "background_brightness",
    "brightness",
    "colourfulness",
    "contrast",
    "edge_density",
    "entropy",
    "ink_share",
    "whitespace_share",
    "words",
];

fn plan(slides: u64, shards: usize) -> ScoringPlan {
    ScoringPlan {
        schema_version: ScoringPlan::VERSION,
        manifest: "ab".repeat(32),
        slides,
        model_version: "v3".to_owned(),
        model: "cd".repeat(32),
        batch: 4,
        shards,
        criteria: CRITERIA.map(str::to_owned).to_vec(),
        features: FEATURES.map(str::to_owned).to_vec(),
        scored_at: "2026-11-30T06:00:00Z".parse().unwrap(),
    }
}

fn slide(plan: &ScoringPlan, place: u64) -> Prediction {
    let mut random = Rng::with_seed(place);
    let mut share = || random.f64();
    let mut slide = Prediction {
        id: Some(format!("{place:08x}-0000-8000-8000-{place:012x}")),
        deck_id: format!("deck-{:08x}", place / 12),
        sha256: format!("{place:064x}"),
        scored_at: plan.scored_at,
        latency_ms: 0.0,
        ..Prediction::sample(&format!("deck-{:08x}-p{:03}", place / 12, place % 12))
    };
    for key in CRITERIA {
        let drawn: [f64; Score::LEVELS] = std::array::from_fn(|_| share());
        let total: f64 = drawn.iter().sum();
        slide.distributions.insert(key.to_owned(), drawn.map(|one| one / total));
    }
    slide.features = FEATURES.iter().map(|key| ((*key).to_owned(), share())).collect();
    let seen = std::array::from_fn(|_| share() as f32 - 0.5);
    slide.vision = VisionSketch::new("0123456789abcdef", &seen);
    slide.decide(None);
    slide
}

fn write(folder: &Path, plan: &ScoringPlan, shard: usize) {
    let mut part = PartWriter::begin(folder, plan, shard).unwrap();
    for place in plan.range(shard) {
        part.push(slide(plan, place)).unwrap();
    }
    part.finish().unwrap();
}

/// CPU seconds of the process.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory that the process has had, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1000
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, folder] = arguments.as_slice()
        && command == "join"
    {
        return join(Path::new(folder));
    }
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let slides = numbers.first().copied().unwrap_or(10_000_000);
    let shards = numbers.get(1).map_or(1000, |shards| usize::try_from(*shards).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(slides, shards).enter(dir.path(), true).unwrap();
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let plan = &plan;
            let folder = dir.path();
            scope.spawn(move || {
                (thread..shards).step_by(threads).for_each(|shard| write(folder, plan, shard));
            });
        }
    });
    println!("{slides} slides in {shards} parts written in {:.1} s", start.elapsed().as_secs_f64());
    // In a process of its own, whose memory is that of joining alone.
    let program = std::env::current_exe().unwrap();
    assert!(
        std::process::Command::new(program).args(["join".as_ref(), dir.path()]).status().unwrap().success()
    );
}

fn join(folder: &Path) {
    let (start, before) = (Instant::now(), spent());
    let survey = Survey::of(folder).unwrap();
    let surveyed = start.elapsed().as_secs_f64();
    assert!(survey.missing.is_empty() && survey.scored() == survey.plan.slides);
    let joined = folder.join("scored.parquet");
    survey.join(&joined).unwrap();
    let all = start.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&joined).unwrap().len();
    println!(
        "proved in {surveyed:.1} s, joined in {:.1} s, together {all:.1} s: {:.2} GB, {:.0} bytes a slide; {:.1} s of CPU time; at most {} MB of memory",
        all - surveyed,
        bytes as f64 / 1e9,
        bytes as f64 / survey.plan.slides as f64,
        spent() - before,
        peak()
    );
}
