//! What of CUDA a machine has.

use std::path::PathBuf;

use cudarc::driver::{result as cuda, sys::CUdevice_attribute as Attribute};

use super::libraries::{self, FoundLibrary, Name};
use super::{count_devices, driver_version};
use crate::backend::Kernels as _;
use crate::backend::cuda::{Cuda, CudaDtype, CudaOptions};

/// The driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDriver {
    /// The newest version of CUDA that it runs.
    pub version: (i32, i32),
}

/// A GPU, and whether it can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundGpu {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// Its model.
    pub model: String,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Bytes of its memory, and how many of them are free where it could be opened.
    pub memory: usize,
    /// See `memory`.
    pub free: Option<usize>,
    /// The backend on it in words, or why it cannot be used and what to do.
    pub opened: std::result::Result<String, String>,
}

/// What of CUDA a machine has.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// `None` where there is none; an error where it does not start.
    pub driver: std::result::Result<Option<FoundDriver>, String>,
    /// The libraries that were opened.
    pub libraries: Vec<FoundLibrary>,
    /// What is wrong with those that were not.
    pub missing: Vec<String>,
    /// In the driver's order.
    pub gpus: Vec<FoundGpu>,
    /// Folders that were looked through.
    pub folders: Vec<PathBuf>,
}

/// Looks for the driver, the libraries and the GPUs, and opens each GPU as [`Cuda::open`] does with these options.
pub fn survey(options: &CudaOptions) -> Survey {
    let folders = options.library_folders.clone();
    let nothing = |driver| Survey {
        driver,
        libraries: Vec::new(),
        missing: Vec::new(),
        gpus: Vec::new(),
        folders: folders.clone(),
    };
    let count = match count_devices() {
        Ok(Some(count)) => count,
        Ok(None) => return nothing(Ok(None)),
        Err(error) => return nothing(Err(format!("the driver does not start: {error}"))),
    };
    let version = match driver_version() {
        Ok(version) => version,
        Err(error) => return nothing(Err(error.to_string())),
    };
    let names = [Name::Nvrtc, Name::Cublas, Name::CublasLt];
    let is_asked = !options.without_cudnn && matches!(options.dtype, None | Some(CudaDtype::Bfloat16));
    // What cuDNN needs is open before it.
    let names = names.into_iter().chain(is_asked.then_some(Name::Cudnn));
    let opened = names.map(|name| libraries::open(name, &folders, version));
    let mut missing: Vec<String> = opened.filter_map(|opened| Some(opened.err()?.to_string())).collect();
    let driver = Ok(Some(FoundDriver { version: (version / 1000, version % 1000 / 10) }));
    let (gpus, obstacles): (Vec<_>, Vec<_>) = (0..count).filter_map(|ordinal| gpu(ordinal, options)).unzip();
    // A library that is missing was named above.
    for obstacle in obstacles.into_iter().flatten() {
        if !missing.contains(&obstacle) {
            missing.push(obstacle);
        }
    }
    Survey { driver, libraries: libraries::opened(), missing, gpus, folders }
}

/// A GPU, and why cuDNN does not start on it where it would be used.
fn gpu(ordinal: usize, options: &CudaOptions) -> Option<(FoundGpu, Option<String>)> {
    let device = cuda::device::get(i32::try_from(ordinal).ok()?).ok()?;
    let model = cuda::device::get_name(device).unwrap_or_else(|_| "unnamed".to_owned());
    // SAFETY: the device was found above, here and below.
    let number = |attribute| unsafe { cuda::device::get_attribute(device, attribute) }.unwrap_or(0);
    let capability = (
        number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
    );
    // SAFETY: as above.
    let memory = unsafe { cuda::device::total_mem(device) }.unwrap_or(0);
    let opened = Cuda::open(&CudaOptions { ordinal, ..options.clone() });
    let free = opened.as_ref().ok().and_then(|cuda| Some(cuda.memory().ok()?.0));
    let cudnn = |cuda: &Cuda| -> Option<String> {
        let is_used = cuda.dtype() == CudaDtype::Bfloat16 && !options.without_cudnn;
        is_used
            .then(|| cuda.device().cudnn_obstacle())
            .transpose()
            .unwrap_or_else(|error| Some(Some(error.to_string())))?
    };
    let obstacle = opened.as_ref().ok().and_then(cudnn);
    let opened = opened.map(|cuda| cuda.name()).map_err(|error| error.to_string());
    Some((FoundGpu { ordinal, model, capability, memory, free, opened }, obstacle))
}
