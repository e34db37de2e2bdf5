use std::io;
use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::{Error, Result};

/// The roots in a PEM file, or the platform's; where a platform has none, those of Mozilla.
pub(crate) fn roots(file: Option<&Path>) -> Result<RootCerts> {
    let Some(file) = file else { return Ok(platform()) };
    let failed = |source| Error::Certificates { path: file.to_owned(), source };
    let pem = std::fs::read(file).map_err(failed)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?
        {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the file holds no certificate")));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

fn platform() -> RootCerts {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!("a certificate of this machine is left out: {error}");
    }
    if loaded.certs.is_empty() {
        tracing::debug!("this machine has no certificates; Mozilla's are taken");
        return RootCerts::WebPki;
    }
    let owned = loaded.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned());
    RootCerts::Specific(Arc::new(owned.collect()))
}
