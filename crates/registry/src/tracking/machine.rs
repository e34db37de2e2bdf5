use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const MIB: f64 = 1024.0 * 1024.0;

/// Measures this machine and process, under the names that the official client of Weights & Biases gives its metrics.
///
/// Read from `/proc`, where there is one, and from `nvidia-smi`, where that is found; what is not there is left out.
#[derive(Debug)]
pub struct Machine {
    proc: PathBuf,
    begin: Totals,
    last: Totals,
    has_gpu: bool,
}

/// What only grows.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    /// Ticks of all cores.
    ticks: f64,
    /// Ticks of this process.
    own_ticks: f64,
    /// KiB.
    disk_in: f64,
    disk_out: f64,
    /// Bytes.
    received: f64,
    sent: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// Counts from now on.
    pub fn new() -> Self {
        let proc = PathBuf::from("/proc");
        let begin = Totals::read(&proc);
        Self { proc, begin, last: begin, has_gpu: true }
    }

    /// Bytes of memory, and cores.
    pub fn size(&self) -> (u64, usize) {
        let memory = memory(&self.proc).map_or(0.0, |(total, _)| total);
        (memory as u64, std::thread::available_parallelism().map_or(0, usize::from))
    }

    /// What the machine has, under the names that the official client gives it in `wandb-metadata.json`.
    pub fn describe(&self) -> Value {
        let (memory, cores) = self.size();
        let mut found = json!({"cpu_count_logical": cores, "memory": {"total": memory.to_string()}});
        if let Some(model) = cpu_model(&self.proc) {
            found["cpu"] = json!({"count_logical": cores, "model": model});
        }
        if let Some((used, total)) = disk(Path::new("/")) {
            found["disk"] =
                json!({"/": {"total": (total as u64).to_string(), "used": (used as u64).to_string()}});
        }
        let gpus =
            nvidia_smi("--query-gpu=name,memory.total").map(|text| gpu_names(&text)).unwrap_or_default();
        if let Some(first) = gpus.first() {
            found["gpu"] = first["name"].clone();
            found["gpu_count"] = json!(gpus.len());
            found["gpu_nvidia"] = json!(gpus);
        }
        found
    }

    /// The measures since the last call.
    pub fn sample(&mut self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        let mut put = |name: &str, value: f64| {
            if value.is_finite() {
                values.insert(name.to_owned(), value);
            }
        };
        self.put_totals(&mut put);
        self.put_memory(&mut put);
        if let Some((used, total)) = disk(Path::new(".")) {
            put("disk./.usagePercent", 100.0 * used / total);
            put("disk./.usageGB", used / MIB / 1024.0);
        }
        if self.has_gpu {
            match nvidia_smi(QUERY) {
                Some(text) => values.extend(gpus(&text)),
                None => self.has_gpu = false,
            }
        }
        values
    }

    /// The machine's memory, and this program's memory and threads.
    fn put_memory(&self, put: &mut impl FnMut(&str, f64)) {
        if let Some(threads) = status(&self.proc, "Threads:") {
            put("proc.cpu.threads", threads);
        }
        if let Some((total, available)) = memory(&self.proc) {
            put("memory_percent", 100.0 * (total - available) / total);
            put("proc.memory.availableMB", available / MIB);
            if let Some(own) = status(&self.proc, "VmRSS:") {
                put("proc.memory.rssMB", own / 1024.0);
                put("proc.memory.percent", 100.0 * own * 1024.0 / total);
            }
        }
    }

    /// Of the machine's totals, processor time since the last call and the rest since the beginning.
    fn put_totals(&mut self, put: &mut impl FnMut(&str, f64)) {
        let now = Totals::read(&self.proc);
        if now.ticks > self.last.ticks {
            put("cpu", 100.0 * (now.own_ticks - self.last.own_ticks) / (now.ticks - self.last.ticks));
        }
        if now.ticks > 0.0 {
            put("disk.in", (now.disk_in - self.begin.disk_in) / 1024.0);
            put("disk.out", (now.disk_out - self.begin.disk_out) / 1024.0);
            put("network.recv", now.received - self.begin.received);
            put("network.sent", now.sent - self.begin.sent);
        }
        self.last = now;
    }
}

impl Totals {
    fn read(proc: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
        let stat = text("stat");
        let all = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let own = text("self/stat");
        // The name of the program stands in parentheses, and may hold anything.
        let own = own.rsplit_once(')').map_or("", |(_, rest)| rest);
        let vmstat = text("vmstat");
        let (received, sent) = moved(&text("net/dev"));
        Self {
            ticks: fields(all.unwrap_or_default()).iter().take(8).sum(),
            own_ticks: fields(own).iter().skip(10).take(2).sum(), // the state, a letter, is left out
            disk_in: counter(&vmstat, "pgpgin"),
            disk_out: counter(&vmstat, "pgpgout"),
            received,
            sent,
        }
    }
}

fn fields(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn counter(vmstat: &str, name: &str) -> f64 {
    let mut found = vmstat.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    found.next().unwrap_or(0.0)
}

/// Bytes that all interfaces to other machines received and sent.
fn moved(network: &str) -> (f64, f64) {
    let interfaces = network.lines().filter_map(|line| line.split_once(':'));
    let moved = interfaces.filter(|(name, _)| name.trim() != "lo").map(|(_, numbers)| fields(numbers));
    moved.fold((0.0, 0.0), |(received, sent), numbers| {
        (received + numbers.first().unwrap_or(&0.0), sent + numbers.get(8).unwrap_or(&0.0))
    })
}

/// Bytes of memory: all, and what can be had.
fn memory(proc: &Path) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(proc.join("meminfo")).ok()?;
    let kib = |name: &str| text.lines().find_map(|line| fields(line.strip_prefix(name)?).first().copied());
    Some((kib("MemTotal:")? * 1024.0, kib("MemAvailable:")? * 1024.0))
}

fn status(proc: &Path, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(proc.join("self/status")).ok()?;
    text.lines().find_map(|line| fields(line.strip_prefix(name)?).first().copied())
}

/// Bytes of the file system: used, and all.
#[cfg(unix)]
fn disk(path: &Path) -> Option<(f64, f64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    let unit = found.f_frsize as f64;
    Some(((found.f_blocks - found.f_bfree.min(found.f_blocks)) as f64 * unit, found.f_blocks as f64 * unit))
        .filter(|(_, total)| *total > 0.0)
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<(f64, f64)> {
    None
}

const QUERY: &str = "--query-gpu=index,utilization.gpu,utilization.memory,memory.used,memory.total,temperature.gpu,power.draw";

fn nvidia_smi(query: &str) -> Option<String> {
    let mut command = Command::new("nvidia-smi");
    command.args([query, "--format=csv,noheader,nounits"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Name and bytes of each GPU.
fn gpu_names(text: &str) -> Vec<Value> {
    let gpu = |line: &str| {
        let (name, mib) = line.rsplit_once(',')?;
        let bytes = mib.trim().parse::<f64>().ok()? * MIB;
        Some(json!({"name": name.trim(), "memoryTotal": (bytes as u64).to_string()}))
    };
    text.lines().filter_map(gpu).collect()
}

/// What the first core calls itself.
fn cpu_model(proc: &Path) -> Option<String> {
    let text = std::fs::read_to_string(proc.join("cpuinfo")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map(|(_, name)| name.trim().to_owned())
}

fn gpus(text: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for line in text.lines() {
        let numbers: Vec<Option<f64>> = line.split(',').map(|field| field.trim().parse().ok()).collect();
        let field = |index: usize| numbers.get(index).copied().flatten();
        let Some(index) = field(0) else { continue };
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                values.insert(format!("gpu.{index}.{name}"), value);
            }
        };
        put("gpu", field(1));
        put("memory", field(2));
        put("memoryAllocatedBytes", field(3).map(|mib| mib * MIB));
        put("memoryAllocated", field(3).zip(field(4)).map(|(used, total)| 100.0 * used / total));
        put("temp", field(5));
        put("powerWatts", field(6));
    }
    values
}

/// The machine's name in its network; empty where it has none.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let proc = dir.path().to_owned();
        (dir, Machine { proc, begin: Totals::default(), last: Totals::default(), has_gpu: false })
    }

    #[test]
    fn the_measures_are_those_of_proc() {
        let (_dir, mut machine) = machine(&[
            ("stat", "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n"),
            ("self/stat", "7 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 200 50 0 0 20 0 4 0\n"),
            ("meminfo", "MemTotal:       4096000 kB\nMemFree: 1 kB\nMemAvailable:   1024000 kB\n"),
            ("self/status", "Name:\tx\nVmRSS:\t  204800 kB\nThreads:\t4\n"),
            ("vmstat", "pgpgin 2048\npgpgout 4096\n"),
            ("net/dev", "head\n head\n  lo: 9 0 0 0 0 0 0 0 9\n eth0: 100 0 0 0 0 0 0 0 30 0\n"),
        ]);
        let values = machine.sample();
        let expected = [
            ("cpu", 25.0),
            ("memory_percent", 75.0),
            ("proc.memory.availableMB", 1000.0),
            ("proc.memory.rssMB", 200.0),
            ("proc.memory.percent", 5.0),
            ("proc.cpu.threads", 4.0),
            ("disk.in", 2.0),
            ("disk.out", 4.0),
            ("network.recv", 100.0),
            ("network.sent", 30.0),
        ];
        for (name, value) in expected {
            assert_eq!(values.get(name), Some(&value), "{name}: {values:?}");
        }
        #[cfg(unix)]
        assert!(values["disk./.usagePercent"] > 0.0);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let (_dir, mut machine) = machine(&[("stat", "nonsense"), ("meminfo", "MemTotal: x")]);
        let names: Vec<String> =
            machine.sample().into_keys().filter(|name| !name.starts_with("disk./")).collect();
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn a_machine_is_described_by_what_it_tells() {
        let (_dir, machine) = machine(&[
            ("meminfo", "MemTotal: 2 kB\nMemAvailable: 1 kB\n"),
            ("cpuinfo", "processor\t: 0\nmodel name\t: A: fast one\n"),
        ]);
        let found = machine.describe();
        assert_eq!(
            (&found["memory"]["total"], &found["cpu"]["model"]),
            (&json!("2048"), &json!("A: fast one"))
        );
        let gpus = gpu_names("NVIDIA A, 80 GB, 81920\nnonsense\n");
        assert_eq!(gpus, [json!({"name": "NVIDIA A, 80 GB", "memoryTotal": "85899345920"})]);
    }

    #[test]
    fn gpus_are_read_and_what_one_does_not_tell_is_left_out() {
        let values = gpus("0, 97, 41, 1024, 4096, 55, 210.5\n1, [N/A], 0, 0, 4096, 40, [Not Supported]\n");
        for (name, value) in [
            ("gpu.0.gpu", 97.0),
            ("gpu.0.memoryAllocated", 25.0),
            ("gpu.0.powerWatts", 210.5),
            ("gpu.1.temp", 40.0),
        ] {
            assert_eq!(values.get(name), Some(&value), "{name}");
        }
        assert!(!values.contains_key("gpu.1.gpu") && !values.contains_key("gpu.1.powerWatts"));
    }
}
