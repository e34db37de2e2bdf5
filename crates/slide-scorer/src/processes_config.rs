use serde::{Deserialize, Serialize};
use slide_data::Error;

/// `[processes]` of `processes.toml`: how `pq-train` that is started as several processes becomes one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessesConfig {
    /// What carries the numbers.
    pub transport: TransportKind,
    /// How long the processes wait for each other at the start, in seconds.
    pub start_s: u64,
    /// When a process is lost, how long the first one may take to come to the end of a pass and save the last whole step, in seconds.
    pub save_s: u64,
}

/// What carries numbers between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// MPI in a build that has it and where its launcher started the processes, else TCP where `MASTER_ADDR` and `MASTER_PORT` are set;
    /// several processes without either are refused.
    Auto,
    /// This process is alone, whatever launchers say.
    None,
    /// Connections to the first process, at `MASTER_ADDR` and `MASTER_PORT`.
    Tcp,
    /// MPI, in a build with the feature `mpi`.
    Mpi,
}

impl Default for ProcessesConfig {
    fn default() -> Self {
        Self { transport: TransportKind::Auto, start_s: 300, save_s: 8 }
    }
}

impl ProcessesConfig {
    /// Checks every value against its domain.
    ///
    /// # Errors
    /// Names the first key whose value is outside its domain.
    pub fn validate(&self) -> Result<(), Error> {
        if self.start_s == 0 {
            let (expected, actual) = ("at least 1".to_owned(), "0".to_owned());
            return Err(Error::Domain { key: "processes.start_s".to_owned(), expected, actual });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_holds_the_defaults() {
        let file: toml::Table = include_str!("../../../config/processes.toml").parse().unwrap();
        let read: ProcessesConfig = file["processes"].clone().try_into().unwrap();
        assert_eq!(read, ProcessesConfig::default());
        assert!(read.validate().is_ok() && ProcessesConfig { start_s: 0, ..read }.validate().is_err());
    }
}
