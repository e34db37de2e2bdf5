//! Servers that speak TLS, with a certificate of an authority that nobody knows but the test.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{Answer, Request, Server, serve};

/// An authority of the test's own, and a certificate that it gave `localhost` and 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Authority {
    pem: String,
    config: Arc<ServerConfig>,
}

impl Authority {
    /// A new one, with new keys.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own_key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&own_key).unwrap().pem();
        let issuer = Issuer::new(authority, own_key);
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self { pem, config: Arc::new(config) }
    }

    /// Writes its certificate as PEM, for those who shall trust it; returns the file.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("authority.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }

    pub(crate) fn accept(&self, socket: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), socket)
    }
}

impl Server {
    /// Starts it at an `https` address; who does not trust the authority breaks the connection off before there is a request.
    pub fn start_tls(
        authority: &Authority,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let authority = authority.clone();
        Self::listen(0, "https", move |socket, seen| {
            let mut stream = authority.accept(socket);
            serve(&mut stream, seen, &handler);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
        .unwrap()
    }
}
