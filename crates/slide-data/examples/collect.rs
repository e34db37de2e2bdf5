//! Collects a folder with the library alone: `cargo run --example collect --features collect -- STORE PATH`.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;

use slide_data::collect::{
    Collector, DataConfig, Decisions, Reader, Staying, Store, Subprocess, serve, verify,
};
use slide_data::render::find_inputs;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, path] = args.as_slice() else {
        // This program is also its own reader process.
        return Ok(serve(std::io::stdin().lock(), std::io::stdout())?);
    };
    let program = std::env::current_exe()?;
    let reader = || -> Box<dyn Reader + Send> { Box::new(Subprocess::new(program.clone(), Vec::new())) };
    let config = DataConfig::default();
    let mut store = Store::open(Path::new(store))?;
    let inputs = find_inputs(Path::new(path), None)?;
    let (staying, decisions) = (Staying::default(), Decisions::default());
    let mut collector = Collector {
        store: &mut store,
        config: &config,
        readers: 2,
        retry: false,
        staying: &staying,
        decisions: &decisions,
    };
    let report = collector.run(&inputs, &reader, &())?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    println!("{} problems found", verify(&store).len());
    Ok(())
}
