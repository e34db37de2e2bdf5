//! Takes in what scoring services on other machines shipped to a bucket.

use anyhow::Result;
use pq_cli::{Hint, Layout};
use slide_data::KeptConfig;

#[cfg(not(feature = "object-store"))]
pub(crate) fn take_in_shipped(_layout: &Layout, url: &str, _kept: &KeptConfig) -> Result<()> {
    let what = format!("`{url}` is in a bucket, and this pq-monitor knows none");
    Err(Hint::new(what, "build it with `--features object-store`").into())
}

/// Takes everything that lies there, but for what was forgotten. What is not whole stays, and is an error once all else is taken in.
#[cfg(feature = "object-store")]
pub(crate) fn take_in_shipped(layout: &Layout, url: &str, kept: &KeptConfig) -> Result<()> {
    use pq_cli::WithHint as _;
    let place = shipped::Place::open(url)?;
    let forgotten = slide_data::ForgottenMarks::read(&layout.slides().forgotten()).hint(
        "it is not known which decks were forgotten",
        "mend the file, or restore it from a copy; nothing was taken in",
    )?;
    let taken = slide_data::prediction_log::take_in(layout, &forgotten, &place)?;
    if taken.segments > 0 {
        let (lines, segments) = (taken.lines, taken.segments);
        tracing::info!("{lines} lines in {segments} segments were taken from `{url}` into the log");
    }
    if taken.kept + taken.corrections + taken.failures > 0 {
        let (kept, corrections, failures) = (taken.kept, taken.corrections, taken.failures);
        tracing::info!(
            "with them came {kept} kept slides, {corrections} corrections and {failures} files or pages that could not be scored"
        );
    }
    if taken.forgotten > 0 {
        tracing::info!("{} were of decks that were forgotten, and are gone", taken.forgotten);
    }
    if taken.kept > 0 {
        prune(layout, kept);
    }
    if taken.refused.is_empty() {
        return Ok(());
    }
    let what = format!("cut short or changed, and left in `{url}`: {}", taken.refused.join(", "));
    Err(Hint::new(what, "ship it again from the service's machine, or remove it; all else is in the log")
        .into())
}

/// Removes kept slides that are too old or too many. What cannot be removed is warned of.
#[cfg(feature = "object-store")]
fn prune(layout: &Layout, config: &KeptConfig) {
    use slide_data::KeptSlides;
    let now = jiff::Timestamp::now();
    let pruned = KeptSlides::open(layout.kept(), config.clone())
        .and_then(|mut kept| kept.prune(now, || KeptSlides::asked_for(layout)));
    if let Err(error) = pruned {
        tracing::warn!("no kept slide is removed: {error:#}");
    }
}

#[cfg(feature = "object-store")]
mod shipped {
    use anyhow::Result;
    use pq_cli::{Hint, WithHint as _, secrets};
    use registry::{BucketOptions, Objects};
    use slide_data::prediction_log::SegmentStore;

    const REMEDY: &str =
        "check the address, AWS_ENDPOINT_URL, AWS_REGION and the keys, and run it again: nothing is lost";

    /// A folder in a bucket.
    pub(super) struct Place(Objects);

    impl Place {
        pub(super) fn open(url: &str) -> Result<Self> {
            let http = pq_cli::http_options();
            let Some(options) = BucketOptions::of_variables(url, &secrets::variable, http) else {
                let what = format!("there is no key for `{url}`");
                return Err(Hint::new(what, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY").into());
            };
            Ok(Self(Objects::open(&options).hint("the bucket cannot be asked", REMEDY)?))
        }

        fn failed(&self) -> String {
            format!("`{}` does not answer as it should", self.0.title())
        }
    }

    impl SegmentStore for Place {
        type Error = anyhow::Error;

        fn names(&self, folder: &str) -> Result<Vec<String>> {
            self.0.names(folder).hint(self.failed(), REMEDY)
        }

        fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
            let object = self.0.get(name).hint(self.failed(), REMEDY)?;
            Ok(object.map(|object| object.content))
        }

        fn remove(&self, name: &str) -> Result<()> {
            self.0.remove(name).hint(self.failed(), REMEDY)
        }
    }
}
