//! The tools, and how each is looked for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Cluster, SmallDisk};

/// Something that a test needs and that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Chromium or Chrome, and chromedriver.
    Browser,
    /// The accessibility checks of axe-core: the file that [`Tool::axe_core`] names.
    Axe,
    /// The right to mount a small file system that can be filled.
    FullDisk,
    /// Another user than root, as whom a program of the build can be started.
    OtherUser,
    /// `LibreOffice`.
    Office,
    /// `script`, which gives a command a terminal.
    Terminal,
    /// `moto_server`, which stands in for a service that speaks S3.
    Moto,
    /// A CPU with AVX2 and FMA.
    Avx2,
    /// A CPU with AVX-512 (F, BW, DQ and VL).
    Avx512,
    /// A CPU that multiplies bf16 in AVX-512.
    Avx512Bf16,
    /// A CPU with AMX for bf16.
    Amx,
    /// An aarch64 CPU with NEON.
    Neon,
    /// An aarch64 CPU that multiplies bf16 (`FEAT_BF16`).
    NeonBf16,
    /// A Python ([`Tool::python`]) with the package gguf.
    Gguf,
    /// A Python ([`Tool::python`]) with torch, torchvision and transformers.
    Transformers,
    /// The command pq-train beside the command that is tested.
    Trainer,
    /// The web server nginx.
    Nginx,
    /// The web server Caddy.
    Caddy,
    /// The daemons and commands of Slurm and munge, and the right to start them: [`Cluster`](crate::Cluster).
    Slurm,
    /// `mpirun` of Open MPI.
    Mpi,
}

/// Tools that only `.ci/check-cuda` and `.ci/check-aarch64` look for: the tests that need them are ignored unless they are asked for by
/// name.
const ELSEWHERE: [&str; 6] = ["nvrtc", "gpu", "qemu-aarch64", "gcc-aarch64", "gcc-mingw", "targets"];

impl Tool {
    /// All tools.
    pub const ALL: &[Self] = &[
        Self::Browser,
        Self::Axe,
        Self::FullDisk,
        Self::OtherUser,
        Self::Office,
        Self::Terminal,
        Self::Moto,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
        Self::Neon,
        Self::NeonBf16,
        Self::Gguf,
        Self::Transformers,
        Self::Trainer,
        Self::Nginx,
        Self::Caddy,
        Self::Slurm,
        Self::Mpi,
    ];

    /// The name in the environment variable [`super::REQUIRED`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Axe => "axe",
            Self::FullDisk => "full-disk",
            Self::OtherUser => "other-user",
            Self::Office => "office",
            Self::Terminal => "terminal",
            Self::Moto => "moto",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonBf16 => "neon-bf16",
            Self::Gguf => "gguf",
            Self::Transformers => "transformers",
            Self::Trainer => "pq-train",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Slurm => "slurm",
            Self::Mpi => "mpi",
        }
    }

    /// The tools of a list with commas, all of them for `1`.
    ///
    /// # Errors
    /// The name that no tool has.
    pub(super) fn list(names: &str) -> Result<Vec<Self>, String> {
        if names.trim() == "1" {
            return Ok(Self::ALL.to_vec());
        }
        let names = names.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty() && !ELSEWHERE.contains(name));
        let tool = |name: &str| Self::ALL.iter().copied().find(|tool| tool.name() == name);
        names.map(|name| tool(name).ok_or_else(|| name.to_owned())).collect()
    }

    /// Where axe-core is looked for: `AXE_CORE`, or where `.ci/install-browser` puts it.
    pub fn axe_core() -> PathBuf {
        std::env::var_os("AXE_CORE").map_or_else(
            || {
                let program = std::env::current_exe().unwrap_or_default();
                // target/debug/deps/program
                let target = program.ancestors().nth(3).unwrap_or(&program).to_owned();
                target.join("browser/axe.min.js")
            },
            PathBuf::from,
        )
    }

    /// The Python that tests ask for other programs' opinion: `PQ_PYTHON`, else `python3`.
    pub fn python() -> Command {
        Command::new(std::env::var_os("PQ_PYTHON").unwrap_or_else(|| "python3".into()))
    }

    /// Where pq-train is looked for: beside the programs of this build.
    pub fn trainer() -> PathBuf {
        let test = std::env::current_exe().unwrap_or_default();
        let programs = test.ancestors().nth(2).unwrap_or(&test); // target/debug/deps/test
        programs.join(format!("pq-train{}", std::env::consts::EXE_SUFFIX))
    }

    /// Why it cannot be used here; nothing where it can.
    pub fn missing(self) -> Option<String> {
        let (is_there, why) = match self {
            Self::Browser => (
                starts("chromedriver") && (starts("chromium") || starts("google-chrome")),
                "chromium and chromedriver are not installed (.ci/install-browser installs them)",
            ),
            Self::Axe => {
                (Self::axe_core().is_file(), "axe-core is not there (.ci/install-browser fetches it)")
            }
            Self::FullDisk => (can_mount(), "only who may mount a small file system can fill a disk"),
            Self::OtherUser => (can_be_refused(), "no other user than root can start what is built here"),
            Self::Office => (starts("soffice") || starts("libreoffice"), "LibreOffice is not installed"),
            Self::Terminal => (starts("script"), "there is no `script` of util-linux"),
            Self::Moto => (
                succeeds(Command::new("moto_server").arg("--help")),
                "moto is not installed (`pip install 'moto[server]'` brings `moto_server`)",
            ),
            Self::Avx2 => (cpu_has(&["avx2", "fma"]), "the CPU has no AVX2"),
            Self::Avx512 => {
                (cpu_has(&["avx512f", "avx512bw", "avx512dq", "avx512vl"]), "the CPU has no AVX-512")
            }
            Self::Avx512Bf16 => (cpu_has(&["avx512_bf16"]), "the CPU does not multiply bf16 in AVX-512"),
            Self::Amx => (cpu_has(&["amx_tile", "amx_bf16"]), "the CPU has no AMX"),
            Self::Neon => (cfg!(target_arch = "aarch64"), "the CPU has no NEON"),
            Self::NeonBf16 => (multiplies_bf16_in_neon(), "the CPU does not multiply bf16 in NEON"),
            Self::Gguf => (imports("gguf"), "no Python with gguf (PQ_PYTHON names one)"),
            Self::Transformers => (
                imports("torch, torchvision, transformers"),
                "no Python with torch, torchvision and transformers (PQ_PYTHON names one)",
            ),
            Self::Nginx => (succeeds(Command::new("nginx").arg("-v")), "nginx is not installed"),
            Self::Caddy => (succeeds(Command::new("caddy").arg("version")), "Caddy is not installed"),
            Self::Slurm => (
                Cluster::can_start(),
                "slurmctld, slurmd and munged are not installed, or this is not root (Debian: slurm-wlm, munge)",
            ),
            Self::Mpi => (starts("mpirun"), "mpirun is not installed (Debian: openmpi-bin)"),
            Self::Trainer => (Self::trainer().is_file(), "pq-train is not built (cargo build -p pq-train)"),
        };
        (!is_there).then(|| why.to_owned())
    }
}

/// Whether a program can be started and tells its version.
fn starts(program: &str) -> bool {
    succeeds(Command::new(program).arg("--version"))
}

/// Whether Python finds these modules.
fn imports(modules: &str) -> bool {
    succeeds(Tool::python().args(["-c", &format!("import {modules}")]))
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Whether a small file system can be mounted.
fn can_mount() -> bool {
    let thread = std::thread::current().id();
    let folder = std::env::temp_dir().join(format!("pq-testing-{}-{thread:?}", std::process::id()));
    let is_mounted = SmallDisk::mounted(&folder, "64k").is_ok();
    let _ = std::fs::remove_dir(&folder);
    is_mounted
}

/// Whether the system refuses this user what permissions forbid, or lets it start the program of this test as one whom it
/// does: permissions do not bind root.
fn can_be_refused() -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    !is_root || std::env::current_exe().is_ok_and(|program| starts_as_nobody(Command::new(program)))
}

#[cfg(unix)]
fn starts_as_nobody(mut program: Command) -> bool {
    use std::os::unix::process::CommandExt;
    succeeds(program.arg("--list").current_dir("/").uid(65_534).gid(65_534))
}

#[cfg(not(unix))]
fn starts_as_nobody(_: Command) -> bool {
    false
}

/// Whether Linux says that the CPU, an x86-64, has these features.
fn cpu_has(features: &[&str]) -> bool {
    if !cfg!(target_arch = "x86_64") {
        return false; // an emulator may show the file of the machine that it runs on
    }
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    features.iter().all(|feature| flags.split_whitespace().any(|flag| flag == *feature))
}

#[cfg(target_arch = "aarch64")]
fn multiplies_bf16_in_neon() -> bool {
    std::arch::is_aarch64_feature_detected!("bf16")
}

#[cfg(not(target_arch = "aarch64"))]
fn multiplies_bf16_in_neon() -> bool {
    false
}
