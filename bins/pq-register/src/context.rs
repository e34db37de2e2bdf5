//! What every subcommand works with: the registry, the Hub where it is to be asked, and who asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use pq_cli::{Hint, WithHint as _, secrets};
use project_files::Layout;
use registry::hub::{self, Hub};
use registry::signing::{Keys, PrivateKey, PublicKey};
use registry::{BasePlaces, By, HubPlace, Options, Registry, RegistryConfig, Writer};

use crate::args::How;

/// Names the file of the private key that releases are signed with, over the configuration.
const SIGNING_KEY: &str = "PQ_SIGNING_KEY";
/// Names the file of the public key that versions must be signed with, over the configuration.
const PUBLIC_KEY: &str = "PQ_PUBLIC_KEY";

/// What the registry works with: where the base may lie, and keys.
pub(crate) fn options(config: &RegistryConfig, base: &str) -> Result<Options> {
    let remedy =
        "`pq-register keygen` makes a pair of keys; check `registry.signing_key` and `registry.public_key`";
    let named = |variable: &str, configured: &Path| {
        let path = secrets::variable(variable).map_or_else(|| configured.to_owned(), PathBuf::from);
        Some(path).filter(|path| !path.as_os_str().is_empty())
    };
    let private = named(SIGNING_KEY, &config.signing_key).map(|path| PrivateKey::read(&path)).transpose();
    let trusted = named(PUBLIC_KEY, &config.public_key).map(|path| PublicKey::read(&path)).transpose();
    let keys = Keys {
        private: private.hint("nothing can be signed", remedy)?,
        trusted: trusted.hint("no signature can be checked", remedy)?,
    };
    let base = BasePlaces {
        folder: (!base.is_empty()).then(|| PathBuf::from(base)),
        hub_cache: Some(secrets::hub_cache()),
        copies_processor: config.processor_files,
    };
    Ok(Options { base, seal: Some(Arc::new(keys)) })
}

pub(crate) struct Context<'a> {
    pub(crate) config: &'a RegistryConfig,
    pub(crate) registry: &'a Registry,
    pub(crate) layout: &'a Layout,
    pub(crate) how: &'a How,
    pub(crate) json: bool,
}

impl Context<'_> {
    /// The Hub; `None` where no repository is configured, or with `--local`.
    pub(crate) fn hub(&self) -> Result<Option<HubPlace>> {
        let repo = &self.config.huggingface_repo;
        if repo.is_empty() || self.how.local {
            return Ok(None);
        }
        let Some(token) = secrets::hub_token() else {
            bail!(Hint::new(
                format!("`registry.huggingface_repo` is {repo}, and there is no token for the Hub"),
                "set HF_TOKEN; or give --local, and `pq-register push` later"
            ));
        };
        let endpoint = secrets::variable(secrets::HF_ENDPOINT).unwrap_or_else(|| hub::ENDPOINT.to_owned());
        let hub = Hub::new(&endpoint, Some(&token), pq_cli::http_options())
            .hint("the Hub cannot be asked", "check HF_ENDPOINT, HF_TOKEN and SSL_CERT_FILE")?;
        Ok(Some(HubPlace::new(hub, repo, self.config.private)))
    }

    /// The Hub, for commands that are about it.
    pub(crate) fn required_hub(&self) -> Result<HubPlace> {
        match self.hub()? {
            Some(hub) => Ok(hub),
            None => bail!(Hint::new(
                "there is no Hub to ask",
                "set `registry.huggingface_repo` in training.toml, and leave out --local"
            )),
        }
    }

    /// The Hub, for commands that can do without.
    pub(crate) fn hub_if_possible(&self) -> Option<HubPlace> {
        self.hub().unwrap_or_else(|error| {
            tracing::warn!("the Hub is not asked: {error:#}");
            None
        })
    }

    pub(crate) fn by(&self) -> By {
        let variables = ["GITHUB_ACTOR", "USER", "LOGNAME", "USERNAME"];
        let named = || variables.into_iter().find_map(secrets::variable);
        let who = self.how.by.clone().or_else(named).unwrap_or_else(|| "unknown".to_owned());
        By { who, reason: self.how.reason.clone() }
    }

    pub(crate) fn write(&self) -> Result<Writer> {
        self.registry.write(self.by()).hint(
            "the registry cannot be changed",
            "wait for the other command, or check the folder's permissions",
        )
    }
}
