use std::fmt;
use std::path::{Path, PathBuf};

use durable_files::{io_error as io, sha256_hex, write_atomic, write_private};
use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};

use crate::{Error, RegistryConfig, Result};

/// The variable that names the file of the public key that versions must be signed with, over the configuration.
pub const PUBLIC_KEY: &str = "PQ_PUBLIC_KEY";

/// A private ECDSA P-256 key. It is never printed.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn generate() -> Result<Self> {
        let mut bytes = p256::FieldBytes::default();
        loop {
            getrandom::fill(&mut bytes).map_err(|error| problem("new key", error.to_string()))?;
            // All but two in 2^32 draws are below the order of the group.
            if let Ok(key) = SigningKey::from_bytes(&bytes) {
                return Ok(Self(key));
            }
        }
    }

    /// Reads a PEM file without a password: PKCS#8 (`BEGIN PRIVATE KEY`) or SEC1 (`BEGIN EC PRIVATE KEY`).
    ///
    /// # Errors
    /// When the file cannot be read or holds no P-256 key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        let key = SecretKey::from_pkcs8_pem(text.trim()).or_else(|_| SecretKey::from_sec1_pem(text.trim()));
        match key {
            Ok(key) => Ok(Self(SigningKey::from(key))),
            // Its text is a secret, and so may be what the parser says of it.
            Err(_) => Err(problem(
                &path.display().to_string(),
                "it holds no private P-256 key without a password, as PEM",
            )),
        }
    }

    /// Writes the key, which only its owner may read, and its public half beside it.
    ///
    /// # Errors
    /// [`Error::Exists`] when one of the files is there: a key is never overwritten.
    pub fn write(&self, private: &Path, public: &Path) -> Result<()> {
        if let Some(path) = [private, public].into_iter().find(|path| path.exists()) {
            return Err(Error::Exists { path: path.to_owned() });
        }
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|error| problem(&private.display().to_string(), error.to_string()))?;
        write_private(private, pem.as_bytes())?;
        Ok(write_atomic(public, self.public()?.pem.as_bytes())?)
    }

    /// The public half.
    ///
    /// # Errors
    /// When it cannot be written as PEM.
    pub fn public(&self) -> Result<PublicKey> {
        PublicKey::new(*self.0.verifying_key())
    }

    /// A signature (ASN.1 DER) over SHA-256 of `message`; the same for the same message (RFC 6979).
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }
}

/// A public ECDSA P-256 key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    pem: String,
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Result<Self> {
        let pem = key.to_public_key_pem(LineEnding::LF);
        Ok(Self { key, pem: pem.map_err(|error| problem("public key", error.to_string()))? })
    }

    /// Reads a PEM file (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When the file cannot be read or holds no P-256 key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        match VerifyingKey::from_public_key_pem(text.trim()) {
            Ok(key) => Self::new(key),
            Err(error) => Err(problem(
                &path.display().to_string(),
                format!("it holds no public P-256 key as PEM: {error}"),
            )),
        }
    }

    /// The key that versions must be signed with to be used: that of the file that `variable` (the value of [`PUBLIC_KEY`]) or else
    /// the configuration names; `None` where neither names one.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn trusted(config: &RegistryConfig, variable: Option<String>) -> Result<Option<Self>> {
        let path = variable.map_or_else(|| config.public_key.clone(), PathBuf::from);
        if path.as_os_str().is_empty() { Ok(None) } else { Self::read(&path).map(Some) }
    }

    /// The name of the key: SHA-256 of its PEM text, as `model.sig` states it.
    pub fn fingerprint(&self) -> String {
        sha256_hex(self.pem.as_bytes())
    }

    /// Whether `signature` is one of the key's owner over `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature)
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

fn problem(what: &str, problem: impl Into<String>) -> Error {
    Error::Key { what: what.to_owned(), problem: problem.into() }
}
