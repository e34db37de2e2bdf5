//! A log of any size, as segments: `cargo bench -p pitchquest-drift --features segments --bench segments -- make DIR SLIDES DAYS` writes it, and
//! `… -- look DIR` reports on it as `pq-monitor` does, to be measured by `/usr/bin/time -v`. Seeded.

#![allow(clippy::print_stdout, reason = "its lines are what it is for")]

#[path = "../tests/production/mod.rs"]
mod production;

use std::path::Path;
use std::time::Instant;

use drift::MonitoringConfig;
use production::{Production, layout, look, now};
use slide_data::prediction_log::{day_of, write_day};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", dir, slides, days] => {
            make(Path::new(dir), Production { slides: slides.parse()?, days: days.parse()? })
        }
        ["look", dir] => look_at(Path::new(dir)),
        _ => {
            println!("make DIR SLIDES DAYS, or look DIR");
            Ok(())
        }
    }
}

fn make(dir: &Path, production: Production) -> Result<(), Box<dyn std::error::Error>> {
    let (layout, started) = (layout(dir), Instant::now());
    for day in 0..production.days {
        let number = day_of(now()) - (production.days - day) as i64;
        write_day(&layout, number, production.day(day))?;
        println!("day {} of {}: {:.0} s", day + 1, production.days, started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn look_at(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let (found, drift, accuracy) = look(&layout(dir), &MonitoringConfig::default())?;
    println!(
        "{} slides, {} compared of {} decks, {} of another version, {} foretold, {} drawn; drift {:?} {:?}, accuracy {:?}: {:.1} s",
        found.counted.slides,
        drift.sizes.recent_slides,
        drift.sizes.recent_decks,
        drift.sizes.other_versions,
        accuracy.sizes.scored,
        found.audits.len(),
        drift.status,
        drift.drift_score,
        accuracy.current_accuracy,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
