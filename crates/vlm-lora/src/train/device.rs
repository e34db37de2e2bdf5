use std::path::PathBuf;
use std::sync::Arc;

use super::BaseModelConfig;
#[cfg(feature = "cuda")]
use super::config::ModelDtype;
use crate::backend::{BaseDtype, Cpu, CpuOptions, Device};
#[cfg(feature = "cuda")]
use crate::backend::{Cuda, CudaDtype, CudaOptions, cuda};
use crate::fingerprint::{ElementType, WeightDevice, WeightFormat};
use crate::{Checkpoint, Error, Result};

/// The device that a configuration asks for.
#[derive(Debug)]
pub struct ChosenDevice {
    /// The device.
    pub device: Device,
    /// How the frozen weights are stored.
    pub format: WeightFormat,
    /// Why a GPU that is there is not used, although `device = "auto"` would have taken it: the first of them.
    pub passed_over: Option<Error>,
}

/// What a GPU is opened with beside what the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuSettings {
    /// A folder in which compiled kernels are kept.
    pub kernel_cache: Option<PathBuf>,
    /// Where NVIDIA's libraries are looked for that the loader does not find.
    pub library_folders: Vec<PathBuf>,
    /// Whether every kernel and product is timed.
    pub profile: bool,
    /// Whether attention is left to the kernels even where cuDNN is found.
    pub without_cudnn: bool,
}

/// What `model.device` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    Cpu,
    /// The CPU, with Accelerate's products.
    Accelerate,
    Cuda(usize),
}

impl BaseModelConfig {
    fn wanted(&self) -> Result<Wanted> {
        let cuda = |rest: &str| match rest.strip_prefix(':') {
            None if rest.is_empty() => Some(0),
            None => None,
            Some(number) => number.parse().ok(),
        };
        match self.device.as_str() {
            "auto" => Ok(Wanted::Auto),
            "cpu" => Ok(Wanted::Cpu),
            "accelerate" => Ok(Wanted::Accelerate),
            other => other.strip_prefix("cuda").and_then(cuda).map(Wanted::Cuda).ok_or_else(|| {
                let key = "model.device".to_owned();
                let expected = "auto, cpu, accelerate (macOS), cuda or cuda:N".to_owned();
                Error::InvalidConfig { key, expected, actual: format!("`{other}`") }
            }),
        }
    }

    /// Opens the device for this checkpoint: with `auto` the first GPU that can be used where the build and the machine have
    /// one, else the CPU.
    ///
    /// # Errors
    /// When `device` is none that there is, or the device cannot compute with this element type.
    pub fn open_device(&self, checkpoint: &Checkpoint, settings: &GpuSettings) -> Result<ChosenDevice> {
        let wanted = self.wanted()?;
        if let Wanted::Cuda(ordinal) = wanted {
            return self.gpu(ordinal, checkpoint, settings);
        }
        let mut passed_over = None;
        let gpus = if wanted == Wanted::Auto { gpus() } else { 0 };
        for ordinal in 0..gpus {
            match self.gpu(ordinal, checkpoint, settings) {
                Ok(chosen) => return Ok(ChosenDevice { passed_over, ..chosen }),
                Err(error) => passed_over = passed_over.or(Some(error)),
            }
        }
        let accelerate = wanted == Wanted::Accelerate;
        let options = CpuOptions { accelerate, ..self.cpu_options(checkpoint)? };
        let device = Device::Cpu(Arc::new(Cpu::with_options(options)?));
        Ok(ChosenDevice { device, format: format_on_cpu(options.base), passed_over })
    }

    #[cfg(feature = "cuda")]
    fn gpu(&self, ordinal: usize, checkpoint: &Checkpoint, settings: &GpuSettings) -> Result<ChosenDevice> {
        let dtype = match self.dtype {
            ModelDtype::Float32 => Some(CudaDtype::Float32),
            ModelDtype::Float16 => Some(CudaDtype::Float16),
            ModelDtype::Bfloat16 => Some(CudaDtype::Bfloat16),
            ModelDtype::Auto => match checkpoint.head()?.dtype {
                safetensors::Dtype::F32 => Some(CudaDtype::Float32),
                safetensors::Dtype::F16 => Some(CudaDtype::Float16),
                _ => None, // bf16, which not every GPU has
            },
        };
        let GpuSettings { kernel_cache, library_folders, profile, without_cudnn } = settings.clone();
        let load_in_8bit = self.load_in_8bit;
        let options = CudaOptions {
            ordinal,
            dtype,
            load_in_8bit,
            kernel_cache,
            library_folders,
            profile,
            without_cudnn,
            ..CudaOptions::default()
        };
        let cuda = Cuda::open(&options)?;
        let dtype = match cuda.dtype() {
            CudaDtype::Float32 => ElementType::Float32,
            CudaDtype::Float16 => ElementType::Float16,
            CudaDtype::Bfloat16 => ElementType::Bfloat16,
        };
        let format =
            WeightFormat { device: WeightDevice::Cuda, dtype, load_in_8bit, int8_activations: false };
        Ok(ChosenDevice { device: Device::Cuda(Arc::new(cuda)), format, passed_over: None })
    }

    #[cfg(not(feature = "cuda"))]
    #[expect(clippy::unused_self, reason = "the signature of a build with the feature `cuda`")]
    fn gpu(&self, _: usize, _: &Checkpoint, _: &GpuSettings) -> Result<ChosenDevice> {
        Err(Error::Unsupported { what: "CUDA in a build without the feature `cuda`".to_owned() })
    }
}

fn format_on_cpu(base: BaseDtype) -> WeightFormat {
    let dtype = if base == BaseDtype::Full { ElementType::Float32 } else { ElementType::Bfloat16 };
    let is_int8 = base == BaseDtype::Int8;
    WeightFormat { device: WeightDevice::Cpu, dtype, load_in_8bit: is_int8, int8_activations: is_int8 }
}

#[cfg(feature = "cuda")]
fn gpus() -> usize {
    cuda::device_count()
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(device: &str) -> Result<Wanted> {
        BaseModelConfig { device: device.to_owned(), ..BaseModelConfig::default() }.wanted()
    }

    #[test]
    fn devices_have_names() {
        assert_eq!(wanted("auto").unwrap(), Wanted::Auto);
        assert_eq!(wanted("cpu").unwrap(), Wanted::Cpu);
        assert_eq!(wanted("accelerate").unwrap(), Wanted::Accelerate);
        assert_eq!(wanted("cuda").unwrap(), Wanted::Cuda(0));
        assert_eq!(wanted("cuda:3").unwrap(), Wanted::Cuda(3));
        for wrong in ["", "gpu", "cuda:", "cuda3", "cuda:-1", "CUDA"] {
            assert!(matches!(wanted(wrong), Err(Error::InvalidConfig { .. })), "{wrong}");
        }
    }
    /// What is true of every machine, with GPUs or without.
    #[test]
    fn a_device_is_opened_or_says_why_not() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
        let checkpoint = Checkpoint::open(model).unwrap();
        let open = |device: &str| {
            BaseModelConfig { device: device.to_owned(), ..BaseModelConfig::default() }
                .open_device(&checkpoint, &GpuSettings::default())
        };
        assert!(open("cpu").unwrap().device.name().starts_with("cpu"));
        let chosen = open("auto").unwrap();
        if gpus() == 0 {
            assert!(chosen.device.name().starts_with("cpu") && chosen.passed_over.is_none());
        }
        match open("accelerate") {
            Ok(chosen) => assert!(cfg!(target_os = "macos") && chosen.device.name().contains("accelerate")),
            Err(error) => assert!(error.to_string().contains("Accelerate on this system"), "{error}"),
        }
        let error = open("cuda:1000").unwrap_err();
        let expected = if cfg!(feature = "cuda") { "there is no device 1000" } else { "without the feature" };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
