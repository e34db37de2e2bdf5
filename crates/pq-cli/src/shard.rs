//! Which part of a work that several processes share is this one's.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use clap::Args;

use crate::launcher::{Launcher, LauncherError, Variables, shard_index, shard_place};
use crate::secrets;

/// One of several processes that share a work and do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// The whole work.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The shard of this number, from 0, of so many; `None` where there is none.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (index < count).then_some(Self { index, count })
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }
}

impl Display for Shard {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.index, self.count)
    }
}

/// What `--shard` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Shard(Shard),
    /// How many there are; the launcher says which one this is.
    Of(usize),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is no shard: give its number from 0 and how many there are, as in 2/8, or /8 alone"
            )
        };
        let (index, count) = text.split_once('/').ok_or_else(refused)?;
        let count: usize = count.parse().map_err(|_| refused())?;
        if index.is_empty() {
            return if count > 0 { Ok(Self::Of(count)) } else { Err(refused()) };
        }
        let index = index.parse().map_err(|_| refused())?;
        Shard::new(index, count)
            .map(Self::Shard)
            .ok_or_else(|| format!("there is no shard {index} of {count}: they are numbered from 0"))
    }
}

/// The argument of commands whose work several processes may share.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ShardArgs {
    /// Which part of the work is this process's, numbered from 0, as in 2/8; /8 takes the number from the launcher: Slurm arrays, Kubernetes
    /// Indexed Jobs, `SkyPilot`, mpirun, torchrun, srun.
    #[arg(long, value_name = "I/N")]
    shard: Option<Named>,
}

/// Why it is not known which shard this is.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// What launchers say cannot be used.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// No launcher gives a number.
    #[error("--shard /{0} leaves it to a launcher which shard this is, and none says so")]
    NoIndex(usize),
    /// The number is beyond the last.
    #[error("{by} gives this process the number {index}, and of {count} shards the last is {last}", last = count.saturating_sub(1))]
    Beyond {
        /// Who says so.
        by: Launcher,
        /// The number.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

impl ShardArgs {
    /// Whether a shard was named.
    pub fn is_named(&self) -> bool {
        self.shard.is_some()
    }

    /// The shard that was named, else the one that launchers tell, else the whole work.
    ///
    /// # Errors
    /// When launchers say what cannot be, or contradict each other.
    pub fn find(&self) -> Result<Shard, ShardError> {
        self.find_among(&secrets::variable)
    }

    fn find_among(&self, variables: Variables<'_>) -> Result<Shard, ShardError> {
        match self.shard {
            Some(Named::Shard(shard)) => Ok(shard),
            Some(Named::Of(count)) => {
                let (index, by) = shard_index(variables)?.ok_or(ShardError::NoIndex(count))?;
                Shard::new(index, count).ok_or(ShardError::Beyond { by, index, count })
            }
            None => {
                let place = shard_place(variables)?;
                let shard = place.map(|place| Shard { index: place.index, count: place.count });
                if let Some(place) = place {
                    tracing::info!("this is shard {place}");
                }
                Ok(shard.unwrap_or(Shard::WHOLE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(named: Option<&str>, variables: &[(&str, &str)]) -> Result<Shard, String> {
        let shard = named.map(str::parse).transpose()?;
        let all: std::collections::BTreeMap<&str, &str> = variables.iter().copied().collect();
        let found = ShardArgs { shard }.find_among(&|name| all.get(name).map(|value| (*value).to_owned()));
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_named_counts_and_launchers_fill_in_what_is_not() {
        let task = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        assert_eq!(find(None, &[]), Ok(Shard::WHOLE));
        assert_eq!(find(None, &task).map(|shard| shard.to_string()), Ok("3/4".to_owned()));
        assert_eq!(find(Some("1/2"), &task).map(|shard| (shard.index(), shard.count())), Ok((1, 2)));
        let again =
            [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "1"), ("SLURM_ARRAY_TASK_MIN", "3")];
        assert_eq!(find(Some("/4"), &again).map(Shard::index), Ok(3), "one shard again");
        assert!(find(Some("/3"), &again).unwrap_err().contains("the last is 2"));
        assert!(find(Some("/4"), &[]).unwrap_err().contains("none says so"));
        assert!(find(None, &[("RANK", "1")]).unwrap_err().contains("WORLD_SIZE"));
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for wrong in ["", "1", "4/4", "-1/4", "1/0", "/0", "a/b", "1/2/3"] {
            assert!(find(Some(wrong), &[]).is_err(), "{wrong}");
        }
    }
}
