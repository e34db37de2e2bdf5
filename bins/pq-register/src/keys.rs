//! Keys that releases are signed with.

use std::path::Path;

use anyhow::Result;
use pq_cli::{Verdict, WithHint as _};
use registry::signing::PrivateKey;
use serde_json::json;

use crate::print;

/// Makes a pair: the private key in `private`, the public one beside it.
pub(crate) fn generate(private: &Path, json: bool) -> Result<Verdict> {
    let public = private.with_file_name({
        let mut name = private.file_name().unwrap_or_default().to_owned();
        name.push(".pub");
        name
    });
    let key = PrivateKey::generate()?;
    key.write(private, &public).hint("no key was made", "name a file that is not there yet")?;
    let fingerprint = key.public()?.fingerprint();
    let value = json!({"private": private, "public": public, "fingerprint": fingerprint});
    let text = format!(
        "{}: keep it secret; `registry.signing_key` names it\n{}: `registry.public_key` names it\n{fingerprint}",
        private.display(),
        public.display()
    );
    print::emit(json, &value, &text)?;
    Ok(Verdict::Pass)
}
