//! Fetches a checkpoint: `fetch ENDPOINT OWNER/NAME CACHE`. Prints the folder that holds it; Ctrl-C, and the next call goes on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::error::Error;
use std::sync::Arc;

use http_client::Options;
use hub_client::{HubOptions, fetch_with};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, id, cache] = arguments.as_slice() else { return Err("ENDPOINT OWNER/NAME CACHE".into()) };
    let options =
        HubOptions { endpoint: endpoint.clone(), token: None, cache_dir: cache.into(), offline: false };
    let http = Options { notify: Some(Arc::new(|notice| eprintln!("{notice}"))), ..Options::default() };
    println!("{}", fetch_with(id, None, &options, http)?.display());
    Ok(())
}
