use crate::{ProcessGroup, Result};

/// Where a process runs, as far as others may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The name that it has in its network.
    pub host: String,
    /// The same for all processes under one running kernel.
    boot: String,
    /// The CPUs that the process may use, as the kernel writes them.
    cpus: String,
}

impl Machine {
    /// The machine that this process runs on; what the system does not say stays empty.
    pub fn here() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let status = line("/proc/self/status");
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self {
            host: line("/proc/sys/kernel/hostname"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            cpus: cpus.unwrap_or_default().trim().to_owned(),
        }
    }

    /// Whether another process runs under the same kernel.
    pub fn is_same(&self, other: &Self) -> bool {
        !self.boot.is_empty() && self.boot == other.boot
    }

    /// The machine of each process.
    ///
    /// # Errors
    /// When a process is gone or gave up.
    pub fn of_all(group: &dyn ProcessGroup) -> Result<Vec<Self>> {
        let all = group.all_gather(Self::here().written().as_bytes())?;
        Ok(all.iter().map(|bytes| Self::read(&String::from_utf8_lossy(bytes))).collect())
    }

    /// How many of these processes, this one among them, may use exactly the CPUs that this one may: a launcher that binds each process
    /// to CPUs of its own leaves one.
    pub fn sharers(&self, all: &[Self]) -> usize {
        all.iter().filter(|other| self.is_same(other) && self.cpus == other.cpus).count().max(1)
    }

    pub(crate) fn written(&self) -> String {
        [self.host.as_str(), &self.boot, &self.cpus].join("\n")
    }

    pub(crate) fn read(text: &str) -> Self {
        let mut lines = text.split('\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Self { host: next(), boot: next(), cpus: next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_on_the_same_cpus_share_them() {
        let machine = |boot: &str, cpus: &str| Machine::read(&format!("node\n{boot}\n{cpus}"));
        let all = [machine("a", "0-1"), machine("a", "0-1"), machine("a", "2"), machine("b", "0-1")];
        assert_eq!(all.each_ref().map(|one| one.sharers(&all)), [2, 2, 1, 1]);
        assert_eq!(Machine::read(&all[2].written()), all[2]);
        let unknown = machine("", "");
        assert_eq!(unknown.sharers(&[unknown.clone(), unknown.clone()]), 1, "nothing is known of them");
    }
}
