//! Made-up comparisons with what this crate says of each, for other monitors to look at:
//! `cargo bench -p pitchquest-drift --bench peers -- DIR SIMS`. Seeded; `benches/peer-monitoring/run.py` reads them.

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use drift::{DriftReport, DriftStatus};
use fastrand::Rng;
use serde_json::{Value, json};
use simulation::World;
use simulation::experiments::{both_sides, compared, few, is_flagged};
use slide_data::{Prediction, VisionSketch};

const TRAINING: usize = 36;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [dir, sims] = words.as_slice() else { return Err("DIR SIMS".into()) };
    let (dir, sims) = (Path::new(dir), sims.parse::<usize>()?);
    std::fs::create_dir_all(dir)?;
    let usual = World::default();
    let apart = World { alike: 0.0, ..usual };
    for (seed, (name, before, now, slides)) in [
        ("no change, 300 slides, independent of their decks", apart, apart, 300),
        ("no change, 300 slides", usual, usual, 300),
        ("no change, 1,000 slides", usual, usual, 1000),
        ("new template in every other deck, 200 slides", usual, World { template: 2, ..usual }, 200),
        ("a point less on all criteria, 300 slides", usual, World { score_shift: -1.0, ..usual }, 300),
        ("charts on 2 % of slides instead of 45 %, 300 slides", usual, World { charts: 0.02, ..usual }, 300),
        (
            "every other deck looks different to the vision tower alone, 300 slides",
            usual,
            World { unnamed: 2, ..usual },
            300,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut file = BufWriter::new(File::create(dir.join(format!("{seed}.jsonl")))?);
        let mut rng = Rng::with_seed(seed as u64);
        for _ in 0..sims {
            let sides = both_sides([&before, &now], TRAINING, slides, 0, &mut rng);
            let report = compared(&sides, &few(), &mut rng);
            writeln!(file, "{}", line(name, &sides, &report))?;
        }
        file.flush()?;
    }
    Ok(())
}

fn line(name: &str, [reference, recent]: &[Vec<Prediction>; 2], report: &DriftReport) -> Value {
    let both = || reference.iter().chain(recent);
    let properties: BTreeSet<&str> =
        both().flat_map(|slide| slide.features.keys().map(String::as_str)).collect();
    let criteria: BTreeSet<&str> =
        both().flat_map(|slide| slide.expected.keys().map(String::as_str)).collect();
    let side = |slides: &[Prediction]| {
        let column =
            |of: &dyn Fn(&Prediction) -> Option<f64>| json!(slides.iter().map(of).collect::<Vec<_>>());
        let mut columns = BTreeMap::new();
        for name in &properties {
            columns.insert(*name, column(&|slide| slide.features.get(*name).copied()));
        }
        for name in &criteria {
            columns.insert(*name, column(&|slide| slide.expected.get(*name).copied()));
        }
        let vision = slides.iter().map(|slide| slide.vision.as_ref().and_then(VisionSketch::vector));
        json!({
            "decks": slides.iter().map(|slide| slide.deck_id.as_str()).collect::<Vec<_>>(),
            "columns": columns,
            "vision": vision.collect::<Vec<_>>(),
        })
    };
    json!({
        "condition": name,
        "properties": properties,
        "criteria": criteria,
        "reference": side(reference),
        "recent": side(recent),
        "flagged": is_flagged(report),
        "drifted": report.status == DriftStatus::Drifted,
    })
}
