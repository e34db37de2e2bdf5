//! GPUs, their driver and libraries.

use serde::Serialize;
use slide_scorer::BaseModelConfig;

use super::Choice;

/// What of GPUs there is.
#[derive(Debug, Default, Serialize)]
pub(super) struct Gpus {
    /// Whether this program was built for them.
    pub(super) in_this_build: bool,
    /// Whether the machine has a device of NVIDIA's, with a driver or without.
    pub(super) nvidia_in_machine: bool,
    /// The newest version of CUDA that the driver runs; `None` without a driver.
    pub(super) driver: Option<String>,
    pub(super) libraries: Vec<Library>,
    pub(super) devices: Vec<Gpu>,
    /// Where libraries were looked for beside the loader's path.
    pub(super) folders: Vec<String>,
    /// What is wrong, each with what to do.
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Library {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) path: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Gpu {
    pub(super) ordinal: usize,
    pub(super) model: String,
    /// As in `9.0`.
    pub(super) compute_capability: String,
    /// Bytes.
    pub(super) memory: usize,
    pub(super) free: Option<usize>,
    /// What computes on it; `None` where it cannot be used.
    pub(super) opened: Option<String>,
    /// Why it cannot be used.
    pub(super) problem: Option<String>,
}

impl Gpus {
    /// Looks for them, and opens each as a command with this model does.
    pub(super) fn look(model: &BaseModelConfig) -> Self {
        Self { nvidia_in_machine: nvidia_in_machine(), ..found(model) }
    }

    pub(super) fn first_usable(&self) -> Option<String> {
        self.devices.iter().find_map(|gpu| gpu.opened.clone())
    }

    /// What computes on a GPU, or why none does.
    pub(super) fn opened(&self, ordinal: usize) -> Result<String, String> {
        let Some(gpu) = self.devices.iter().find(|gpu| gpu.ordinal == ordinal) else {
            let none = if self.devices.is_empty() {
                self.why_none()
            } else {
                format!("there are {}", self.devices.len())
            };
            return Err(format!("there is no GPU {ordinal}: {none}"));
        };
        let why = || gpu.problem.clone().unwrap_or_else(|| "it cannot be opened".to_owned());
        gpu.opened.clone().ok_or_else(why)
    }

    /// Why no GPU is used.
    pub(super) fn why_none(&self) -> String {
        if !self.in_this_build {
            return "this program was built without CUDA".to_owned();
        }
        match (&self.driver, self.devices.first()) {
            (None, _) => {
                self.problems.first().cloned().unwrap_or_else(|| "there is no NVIDIA driver".to_owned())
            }
            (Some(_), None) => "the driver has no GPU".to_owned(),
            (Some(_), Some(gpu)) => gpu.problem.clone().unwrap_or_else(|| "it is not asked for".to_owned()),
        }
    }

    /// What would help, each once.
    pub(super) fn hints(&self, device: &Choice) -> Vec<String> {
        let mut hints = self.problems.clone();
        if self.nvidia_in_machine && !self.in_this_build {
            hints.push(
                "the machine has an NVIDIA GPU: build with `cargo build --release --features cuda`"
                    .to_owned(),
            );
        }
        if self.nvidia_in_machine && self.in_this_build && self.driver.is_none() && hints.is_empty() {
            let container = "in a container, start it with `--gpus all`";
            hints.push(format!(
                "the machine has an NVIDIA GPU and no driver is found: install it, or {container}"
            ));
        }
        hints.extend(self.devices.iter().filter_map(|gpu| gpu.problem.clone()));
        hints.extend(device.used.is_none().then(|| device.why.clone()));
        let usable = self.devices.iter().filter(|gpu| gpu.opened.is_some()).count();
        if usable > 1 {
            hints.push(format!(
                "a process uses one GPU: `torchrun --no-python --nproc-per-node {usable} pq-train` uses all"
            ));
        }
        let mut said = std::collections::HashSet::new();
        hints.retain(|hint| said.insert(hint.clone()));
        hints
    }
}

/// Whether a device of NVIDIA's is on the PCI bus.
fn nvidia_in_machine() -> bool {
    let devices = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    devices.map(|device| device.path()).any(|device| {
        // Displays and accelerators, and not the sound on the same card.
        read(device.join("vendor")).trim() == "0x10de" && read(device.join("class")).starts_with("0x03")
    })
}

#[cfg(feature = "cuda")]
fn found(model: &BaseModelConfig) -> Gpus {
    use vlm_lora::ModelDtype;
    use vlm_lora::backend::cuda::{FoundGpu, FoundLibrary, survey};
    use vlm_lora::backend::{CudaDtype, CudaOptions};

    let settings = slide_scorer::gpu_settings();
    let dtype = match model.dtype {
        ModelDtype::Float32 => Some(CudaDtype::Float32),
        ModelDtype::Float16 => Some(CudaDtype::Float16),
        ModelDtype::Bfloat16 => Some(CudaDtype::Bfloat16),
        ModelDtype::Auto => None,
    };
    let found = survey(&CudaOptions {
        dtype,
        load_in_8bit: model.load_in_8bit,
        kernel_cache: settings.kernel_cache,
        library_folders: settings.library_folders,
        ..CudaOptions::default()
    });
    let dotted = |(major, minor): (i32, i32)| format!("{major}.{minor}");
    let shown = |path: &std::path::PathBuf| path.display().to_string();
    let library = |FoundLibrary { name, path, version }: FoundLibrary| Library {
        name,
        version: version.map(dotted),
        path: path.as_ref().map(shown),
    };
    let gpu = |gpu: FoundGpu| Gpu {
        ordinal: gpu.ordinal,
        model: gpu.model,
        compute_capability: dotted(gpu.capability),
        memory: gpu.memory,
        free: gpu.free,
        problem: gpu.opened.as_ref().err().cloned(),
        opened: gpu.opened.ok(),
    };
    let (driver, broken) = match found.driver {
        Ok(driver) => (driver.map(|driver| dotted(driver.version)), None),
        Err(problem) => (None, Some(problem)),
    };
    Gpus {
        in_this_build: true,
        nvidia_in_machine: false,
        driver,
        libraries: found.libraries.into_iter().map(library).collect(),
        devices: found.gpus.into_iter().map(gpu).collect(),
        folders: found.folders.iter().map(shown).collect(),
        problems: broken.into_iter().chain(found.missing).collect(),
    }
}

#[cfg(not(feature = "cuda"))]
fn found(_: &BaseModelConfig) -> Gpus {
    Gpus::default()
}
