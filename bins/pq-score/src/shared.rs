//! Folders that several machines share: of a file system, or of a bucket that speaks S3.
//!
//! What is in a bucket is worked on in a temporary folder: plan and parts come from there before they are looked at, and a part goes there
//! once it is whole. Its name says its content, so putting it there twice does no harm.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use pq_cli::Hint;

/// Says when calls to a bucket are to end.
pub(crate) type Cancel = Arc<dyn Fn() -> bool + Send + Sync>;

/// A folder that several processes share.
pub(crate) struct Shared {
    local: PathBuf,
    #[cfg(feature = "object-store")]
    bucket: Option<bucket::Bucket>,
}

/// Whether a path is a place in a bucket.
pub(crate) fn is_bucket(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("s3://"))
}

#[cfg(not(feature = "object-store"))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where buckets are known")]
impl Shared {
    /// The folder that a path names; this program knows no buckets.
    fn open_until(path: &Path, _cancel: Option<Cancel>) -> Result<Self> {
        if is_bucket(path) {
            let what = format!("`{}` is in a bucket, and this pq-score knows none", path.display());
            return Err(Hint::new(what, "build it with `--features object-store`, or name a folder").into());
        }
        Ok(Self { local: path.to_owned() })
    }

    pub(crate) fn fetch(&self, _prefix: &str) -> Result<()> {
        Ok(())
    }

    pub(crate) fn fetch_image(&self, _slide: &str) -> Result<()> {
        Ok(())
    }

    pub(crate) fn create(&self, _name: &str) -> Result<bool> {
        Ok(true)
    }

    pub(crate) fn put(&self, _name: &str, _content: &[u8]) -> Result<bool> {
        Ok(true)
    }

    pub(crate) fn remove(&self, _prefix: &str, _but: &Path) -> Result<()> {
        Ok(())
    }
}

impl Shared {
    /// The folder that a path names, or a temporary one for that of a bucket, which Ctrl-C keeps waiting no longer.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_until(path, None)
    }

    /// As [`open`](Self::open), where a bucket is meant, whose calls end when this says so.
    pub(crate) fn open_bucket(path: &Path, cancel: Cancel) -> Result<Self> {
        if !is_bucket(path) {
            let what = format!("`{}` is no place in a bucket", path.display());
            return Err(Hint::new(what, "name one as in s3://bucket/folder").into());
        }
        Self::open_until(path, Some(cancel))
    }

    /// The folder of this machine that is worked in.
    pub(crate) fn local(&self) -> &Path {
        &self.local
    }
}

#[cfg(feature = "object-store")]
mod bucket {
    use std::io::Write as _;
    use std::path::Path;

    use anyhow::{Context as _, Result};
    use pq_cli::{Hint, WithHint as _, secrets};
    use registry::{BucketOptions, Objects};

    use super::{Cancel, Shared, is_bucket};

    const REMEDY: &str = "check the address, AWS_ENDPOINT_URL, AWS_REGION and the keys, and run it again: what is there is whole";

    /// A folder in a bucket, and the temporary folder for it, which goes with it.
    pub(super) struct Bucket {
        objects: Objects,
        _local: tempfile::TempDir,
    }

    impl Shared {
        /// The folder that a path names, or a temporary one for that of a bucket, whose calls end when `cancel` says so.
        pub(super) fn open_until(path: &Path, cancel: Option<Cancel>) -> Result<Self> {
            if !is_bucket(path) {
                return Ok(Self { local: path.to_owned(), bucket: None });
            }
            let url = path.to_string_lossy();
            let mut http = pq_cli::http_options();
            http.cancel = cancel.or(http.cancel);
            let Some(options) = BucketOptions::of_variables(&url, &secrets::variable, http) else {
                let what = format!("there is no key for `{url}`");
                return Err(Hint::new(what, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY").into());
            };
            let objects = Objects::open(&options).hint("the bucket cannot be asked", REMEDY)?;
            let local = tempfile::tempdir().context("there is no room for temporary files")?;
            Ok(Self { local: local.path().to_owned(), bucket: Some(Bucket { objects, _local: local }) })
        }

        /// Brings what a bucket has of files that begin so.
        pub(crate) fn fetch(&self, prefix: &str) -> Result<()> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(()) };
            for name in objects.names("").hint(failed(objects), REMEDY)? {
                if name.starts_with(prefix) {
                    self.fetch_one(&name)?;
                }
            }
            Ok(())
        }

        /// Brings one file, where the bucket has it, below its name.
        fn fetch_one(&self, name: &str) -> Result<()> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(()) };
            let path = self.local.join(name);
            let mut file = tempfile::NamedTempFile::new_in(&self.local).context("there is no room")?;
            let is_there = objects.read(name, |piece| {
                file.write_all(piece).with_context(|| format!("cannot write `{}`", path.display()))
            });
            if is_there.hint(failed(objects), REMEDY)? {
                file.persist(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            Ok(())
        }

        /// Brings the image of a slide, where the bucket has it.
        pub(crate) fn fetch_image(&self, slide: &str) -> Result<()> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(()) };
            let name = slide_data::Manifest::image_path(Path::new(""), slide);
            if let Some(object) = objects.get(&name.to_string_lossy()).hint(failed(objects), REMEDY)? {
                slide_data::write_atomic(&self.local.join(name), &object.content)?;
            }
            Ok(())
        }

        /// Puts a file into the bucket, unless there is one; whether this content is there now.
        pub(crate) fn create(&self, name: &str) -> Result<bool> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(true) };
            let path = self.local.join(name);
            let content =
                std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            objects.create(name, &content).hint(failed(objects), REMEDY)
        }

        /// Puts content into the bucket, unless there is some of that name; whether this content is there now.
        pub(crate) fn put(&self, name: &str, content: &[u8]) -> Result<bool> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(true) };
            objects.create(name, content).hint(failed(objects), REMEDY)
        }

        /// Removes what of the bucket begins so, but for one file.
        pub(crate) fn remove(&self, prefix: &str, but: &Path) -> Result<()> {
            let Some(Bucket { objects, .. }) = &self.bucket else { return Ok(()) };
            for name in objects.names("").hint(failed(objects), REMEDY)? {
                if name.starts_with(prefix) && but.file_name().is_none_or(|own| *own != *name) {
                    objects.remove(&name).hint(failed(objects), REMEDY)?;
                }
            }
            Ok(())
        }
    }

    fn failed(objects: &Objects) -> String {
        format!("`{}` does not answer as it should", objects.title())
    }
}
