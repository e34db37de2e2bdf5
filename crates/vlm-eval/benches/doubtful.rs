//! How many of the first doubtful labels were moved, where one label in twenty was moved by two points.
//!
//!     cargo bench -p vlm-eval --bench doubtful [-- DRAWS] [-- PROJECT]
//!
//! Seeded. With the folder of a project (`demo`) also on its test and validation slides, as the latest run scored them.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reports on stdout, and fails by panicking"
)]

#[path = "../tests/simulation/moved.rs"]
mod moved;
#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use slide_data::{Contract as _, Labels, Prediction, Rubric};
use vlm_eval::Item;

fn main() {
    let draws = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(200);
    let project = std::env::args().skip(1).find(|arg| Path::new(arg).join("outputs/latest").is_dir());
    println!("of {draws} draws: mean, and the value that one in twenty falls below");
    report("drawn decks", draws, &mut moved::drawn);
    if let Some(project) = project {
        let items = scored(Path::new(&project));
        report(&format!("{} slides of {project}", items.len()), draws, &mut |_| items.clone());
    }
}

fn report(name: &str, draws: usize, draw: &mut dyn FnMut(&mut Rng) -> Vec<Item>) {
    let (rubric, mut rng) = (Rubric::default(), Rng::with_seed(11));
    let mut found: Vec<f64> = (0..draws)
        .map(|_| {
            let mut items = draw(&mut rng);
            let moved = moved::move_labels(&mut items, &rubric, &mut rng);
            moved::precision(&items, &rubric, &moved)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    println!("{name:40} {:5.1} % {:5.1} %", 100.0 * mean, 100.0 * found[found.len() / 20]);
}

/// The labelled slides that the latest run scored without having learned from them.
fn scored(project: &Path) -> Vec<Item> {
    let labels = Labels::read(&project.join("data/labeled/labels.json")).unwrap();
    let run = project_files::RunFiles::new(project.join("outputs/latest"));
    let record = project_files::RunRecord::read(&run.record()).unwrap();
    let mut said: BTreeMap<String, Prediction> = BTreeMap::new();
    for path in [run.reference_predictions(), run.test_predictions()] {
        for prediction in Prediction::read_log(&path).unwrap().entries {
            if prediction.model_version == record.run_id && !prediction.distributions.is_empty() {
                said.insert(prediction.slide_id.clone(), prediction);
            }
        }
    }
    let item = |(slide_id, prediction): (String, Prediction)| {
        let (label, group) = (labels.slides.get(&slide_id)?.clone(), prediction.deck_id.clone());
        Some(Item { slide_id, group, label, prediction })
    };
    said.into_iter().filter_map(item).collect()
}
