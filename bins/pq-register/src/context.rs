//! What every subcommand works with: the registry, the Hub where it is to be asked, and who asks.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use pq_cli::{Hint, WithHint as _, secrets};
use project_files::Layout;
use registry::hub::{self, Hub};
use registry::signing::{Keys, PUBLIC_KEY, PrivateKey, PublicKey};
use registry::{BasePlaces, By, HubPlace, Options, Place, Registry, RegistryConfig, Writer};

use crate::args::How;

/// Names the file of the private key that releases are signed with, over the configuration.
const SIGNING_KEY: &str = "PQ_SIGNING_KEY";

/// What the registry works with: where the base may lie, and keys.
pub(crate) fn options(config: &RegistryConfig, base: &str) -> Result<Options> {
    let remedy =
        "`pq-register keygen` makes a pair of keys; check `registry.signing_key` and `registry.public_key`";
    let path = secrets::variable(SIGNING_KEY).map_or_else(|| config.signing_key.clone(), PathBuf::from);
    let path = Some(path).filter(|path| !path.as_os_str().is_empty());
    let private = path.map(|path| PrivateKey::read(&path)).transpose();
    let trusted = PublicKey::trusted(config, secrets::variable(PUBLIC_KEY));
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
    /// The place beside the folder, the Hub or a bucket; `None` where none is configured, or with `--local`.
    pub(crate) fn hub(&self) -> Result<Option<Box<dyn Place>>> {
        let RegistryConfig { huggingface_repo: repo, bucket, .. } = self.config;
        if self.how.local {
            return Ok(None);
        }
        match (repo.is_empty(), bucket.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Ok(Some(Box::new(self.repository(repo)?))),
            (true, false) => Ok(Some(self.bucket(bucket)?)),
            (false, false) => bail!(Hint::new(
                "`registry.huggingface_repo` and `registry.bucket` are both set",
                "versions are kept in one place beside the folder: leave one of them empty"
            )),
        }
    }

    fn repository(&self, repo: &str) -> Result<HubPlace> {
        let Some(token) = secrets::hub_token() else {
            bail!(Hint::new(
                format!("`registry.huggingface_repo` is {repo}, and there is no token for the Hub"),
                "set HF_TOKEN; or give --local, and `pq-register push` later"
            ));
        };
        let endpoint = secrets::variable(secrets::HF_ENDPOINT).unwrap_or_else(|| hub::ENDPOINT.to_owned());
        let hub = Hub::new(&endpoint, Some(&token), pq_cli::http_options())
            .hint("the Hub cannot be asked", "check HF_ENDPOINT, HF_TOKEN and SSL_CERT_FILE")?;
        Ok(HubPlace::new(hub, repo, self.config.private))
    }

    #[cfg(feature = "object-store")]
    fn bucket(&self, url: &str) -> Result<Box<dyn Place>> {
        let http = pq_cli::http_options();
        let Some(options) = registry::BucketOptions::of_variables(url, &secrets::variable, http) else {
            bail!(Hint::new(
                format!("`registry.bucket` is {url}, and there is no key for it"),
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or give --local, and `pq-register push` later"
            ));
        };
        let place = registry::BucketPlace::new(&options, &self.by().who).hint(
            "the bucket cannot be asked",
            "check `registry.bucket`, AWS_ENDPOINT_URL and SSL_CERT_FILE",
        )?;
        Ok(Box::new(place))
    }

    #[cfg(not(feature = "object-store"))]
    #[expect(clippy::unused_self, reason = "the other form of it uses the context")]
    fn bucket(&self, url: &str) -> Result<Box<dyn Place>> {
        bail!(Hint::new(
            format!("`registry.bucket` is {url}, and this pq-register knows no buckets"),
            "build it with `--features object-store`, or leave the key empty"
        ))
    }

    /// The Hub, for commands that are about it.
    pub(crate) fn required_hub(&self) -> Result<Box<dyn Place>> {
        match self.hub()? {
            Some(hub) => Ok(hub),
            None => bail!(Hint::new(
                "there is no Hub to ask",
                "set `registry.huggingface_repo` or `registry.bucket` in training.toml, and leave out --local"
            )),
        }
    }

    /// The Hub, for commands that can do without.
    pub(crate) fn hub_if_possible(&self) -> Option<Box<dyn Place>> {
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
