use project_files::RunFiles;

use crate::{Bundle, Result};

/// Signs versions, and checks them before they are used.
pub trait Seal: Send + Sync {
    /// The fingerprint of the key that releases are signed with; `None` leaves them unsigned.
    fn signer(&self) -> Option<String>;

    /// The signature of a version: the same for the same files and key.
    ///
    /// # Errors
    /// When there is no key, or the signature cannot be made.
    fn sign(&self, bundle: &Bundle) -> Result<Vec<u8>>;

    /// Checks the version in a folder, where a key is trusted.
    ///
    /// # Errors
    /// [`Signature`](crate::Error::Signature) when the key's owner did not sign it, or it is not what was signed.
    fn check(&self, stored: &RunFiles) -> Result<()>;

    /// The same of a version that is not in a folder yet.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_bundle(&self, bundle: &Bundle) -> Result<()>;
}
