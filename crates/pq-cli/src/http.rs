use std::sync::Arc;

use crate::{interrupted, secrets};

/// How the commands ask services: ended by Ctrl-C, saying what they wait for, with the certificates of `SSL_CERT_FILE`.
pub fn http_options() -> http_client::Options {
    http_client::Options {
        certificates: secrets::certificates(),
        cancel: Some(Arc::new(interrupted)),
        notify: Some(Arc::new(|notice| tracing::info!("{notice}"))),
        ..http_client::Options::default()
    }
}
