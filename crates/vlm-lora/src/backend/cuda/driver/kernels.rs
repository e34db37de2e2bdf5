//! The kernels of a GPU, loaded.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::{result as cuda, sys as cuda_sys};

use super::compile::{Program, Target};
use super::libraries::{self, Name};
use super::{failed, failed_or_full};
use crate::Result;
use crate::backend::cuda::{CudaDtype, CudaOptions, SOURCE};

/// The kernels of a loaded module by their names.
pub(super) struct Kernels {
    pub(super) module: cuda_sys::CUmodule,
    functions: Mutex<HashMap<String, Function>>,
}

#[derive(Clone, Copy)]
pub(super) struct Function(pub(super) cuda_sys::CUfunction);

// SAFETY: a handle of the driver, which any thread may use while the context is current in it.
unsafe impl Send for Function {}
// SAFETY: as above: the driver locks what it must.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// The kernels for a GPU, from where they are kept or by NVRTC.
    pub(super) fn load(
        capability: (i32, i32),
        dtype: CudaDtype,
        options: &CudaOptions,
        version: i32,
    ) -> Result<(Self, Target)> {
        let of_gpu = capability.0 * 10 + capability.1;
        let program = |target| Program { source: SOURCE, target, precision: dtype.precision() };
        let cache = options.kernel_cache.as_deref();
        let kept = |target| {
            let image = program(target).cached(cache?)?;
            Some((Self::of(&image).ok()?, target))
        };
        let wanted = match options.ptx {
            Some(older) => Target::Ptx(older.0 * 10 + older.1),
            None => Target::Machine(of_gpu),
        };
        if let Some(kernels) = kept(wanted) {
            return Ok(kernels);
        }
        let nvrtc = libraries::open(Name::Nvrtc, &options.library_folders, version)?;
        let target = if options.ptx.is_some() { wanted } else { Target::of(of_gpu)? };
        if target != wanted
            && let Some(kernels) = kept(target)
        {
            return Ok(kernels);
        }
        let image = program(target).compile().map_err(|error| {
            // The library is there and a file beside it is not.
            if !error.to_string().contains("nvrtc-builtins") {
                return error;
            }
            let major = nvrtc.version.map_or(version / 1000, |(major, _)| major);
            failed(&format!("{} repairs it", Name::Nvrtc.package(major)), error)
        })?;
        let kernels = Self::of(&image)?;
        if let Some(folder) = cache {
            program(target).keep(folder, &image);
        }
        Ok((kernels, target))
    }

    fn of(image: &[u8]) -> Result<Self> {
        // SAFETY: the image is a whole ELF file, which says how long it is, or PTX with a zero behind it; the context is current.
        let module = unsafe { cuda::module::load_data(image.as_ptr().cast()) }.map_err(|error| {
            let full = "there is no memory for the kernels: other programs hold it (`nvidia-smi` lists them)";
            failed_or_full(
                "the kernels cannot be loaded, which an older NVRTC or a newer driver mends",
                full,
                error,
            )
        })?;
        Ok(Self { module, functions: Mutex::default() })
    }

    pub(super) fn get(&self, name: &str) -> Result<Function> {
        // Entries are added whole.
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = functions.get(name) {
            return Ok(function);
        }
        let c_name = CString::new(name).map_err(|error| failed("a kernel's name", error))?;
        // SAFETY: the module is loaded as long as `self` lives.
        let function = unsafe { cuda::module::get_function(self.module, c_name) }
            .map_err(|error| failed(&format!("there is no kernel `{name}`"), error))?;
        functions.insert(name.to_owned(), Function(function));
        Ok(Function(function))
    }
}
