//! Pages a second, in turn with pdftoppm (poppler-utils): `cargo bench -p slide-data --features render --bench render -- PDF …`.
//!
//! Both draw every page at 1280 pixels on the longest edge; pdftoppm writes PPM files, which is its fastest form, into a folder in
//! memory where there is one. Each round draws all files once with each; the medians of the rounds are compared.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use slide_data::Limits;
use slide_data::render::load;

const ROUNDS: usize = 5;

/// Draws all pages with this crate; returns pages and seconds.
fn ours(paths: &[PathBuf], threads: usize) -> (usize, f64) {
    let limits = Limits { threads, ..Limits::default() };
    let start = Instant::now();
    let pages = |path: &PathBuf| load(path, &limits).expect("the file exists").flatten().count();
    let pages = paths.iter().map(pages).sum();
    (pages, start.elapsed().as_secs_f64())
}

fn theirs(paths: &[PathBuf], folder: &Path) -> Option<f64> {
    let start = Instant::now();
    for path in paths {
        let mut command = Command::new("pdftoppm");
        command.args(["-scale-to", "1280"]).arg(path).arg(folder.join("page"));
        if !command.status().ok()?.success() {
            return None;
        }
    }
    Some(start.elapsed().as_secs_f64())
}

fn main() {
    let paths: Vec<PathBuf> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).map(PathBuf::from).collect();
    if paths.is_empty() {
        println!("name PDF files: cargo bench … --bench render -- FILE.pdf");
        return;
    }
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a temporary folder");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut all, mut one, mut poppler) = (Vec::new(), Vec::new(), Vec::new());
    let mut pages = 0;
    for _ in 0..ROUNDS {
        let (count, seconds) = ours(&paths, cores);
        pages = count;
        all.push(seconds);
        one.push(ours(&paths, 1).1);
        poppler.extend(theirs(&paths, folder.path()));
    }
    let rate = |seconds: Vec<f64>| pages as f64 / statistics::median(seconds).unwrap_or(f64::NAN);
    let (all, one) = (rate(all), rate(one));
    println!("{pages} pages, {cores} cores, medians of {ROUNDS} rounds in turn");
    println!("this crate, {cores} threads: {all:.1} pages/s; 1 thread: {one:.1} pages/s");
    if poppler.is_empty() {
        println!("pdftoppm is not installed (poppler-utils)");
    } else {
        let poppler = rate(poppler);
        println!(
            "pdftoppm: {poppler:.1} pages/s; ratio {:.1} with all cores, {:.1} with one",
            all / poppler,
            one / poppler
        );
    }
}
