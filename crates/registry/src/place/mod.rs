//! Where versions are kept: a folder, the Hub, a bucket. Each place can tell by itself how far a release has come there, and each
//! step of one can be taken again.

#[cfg(feature = "object-store")]
mod bucket;
mod folder;
mod hub;
#[cfg(feature = "object-store")]
mod objects;

use std::collections::BTreeMap;

use project_files::{HubRelease, Manifest, Version};

use crate::{Bundle, Result};

#[cfg(feature = "object-store")]
pub use bucket::BucketPlace;
pub use folder::FolderPlace;
pub(crate) use folder::remove_temporary;
pub use hub::HubPlace;
#[cfg(feature = "object-store")]
pub use objects::{BucketOptions, Object, Objects};

/// How far a release has come at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing of it is there.
    Absent,
    /// Its manifest is there, other files are missing.
    Planned,
    /// All its files are there and were compared, under no name that anybody looks at.
    Stored,
    /// It has its name.
    Named,
    /// It is what who asks for no version gets.
    Live,
}

/// A place that keeps versions.
///
/// Whatever changes it may be interrupted anywhere and called again; a version that is there is never
/// overwritten by another one.
pub trait Place {
    /// What it is called in messages.
    fn title(&self) -> String;

    /// The versions whose names are taken, by number, as the place spells them.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn taken(&self) -> Result<BTreeMap<Version, String>>;

    /// The manifest of a named version; `None` where an earlier program released it.
    ///
    /// # Errors
    /// When there is no such version, or its manifest is not valid.
    fn manifest(&self, version: &str) -> Result<Option<Manifest>>;

    /// How far this very release has come.
    ///
    /// # Errors
    /// [`Taken`](crate::Error::Taken) when another release has its name.
    fn stage(&self, bundle: &Bundle) -> Result<Stage>;

    /// Brings it to [`Stage::Stored`].
    ///
    /// # Errors
    /// [`Taken`](crate::Error::Taken) when another release has its name, or the place cannot be written.
    fn store(&self, bundle: &Bundle) -> Result<()>;

    /// Brings it from there to [`Stage::Named`]; says under what name where the place is the Hub.
    ///
    /// # Errors
    /// [`Taken`](crate::Error::Taken) when another release was faster, or the place cannot be written.
    fn name(&self, bundle: &Bundle) -> Result<Option<HubRelease>>;

    /// The files of a named version, compared with its manifest.
    ///
    /// # Errors
    /// When there is no such version, or a file is not what the manifest says.
    fn load(&self, version: &str) -> Result<Bundle>;

    /// Which version who asks for none gets; `None` where that is no version.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn live(&self) -> Result<Option<String>>;

    /// Brings a named version to [`Stage::Live`]. `check` is asked about the version that is live by then, where one is; the
    /// place is changed as it was seen by `check`, or not at all, whoever else changes it at the same time.
    ///
    /// # Errors
    /// What `check` returns, or when the place cannot be written.
    fn make_live(&self, bundle: &Bundle, check: &dyn Fn(&str) -> Result<()>) -> Result<()>;

    /// The versions that a release which is not finished, or was not tidied up, left traces of, and whether each has its name.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn left_over(&self) -> Result<Vec<(String, bool)>> {
        Ok(Vec::new())
    }

    /// Removes what the finished release of a version left behind.
    ///
    /// # Errors
    /// When the place cannot be written.
    fn tidy(&self, version: &str) -> Result<()>;

    /// Removes a release that has no name yet.
    ///
    /// # Errors
    /// When the place cannot be written.
    fn give_up(&self, bundle: &Bundle) -> Result<()>;
}
