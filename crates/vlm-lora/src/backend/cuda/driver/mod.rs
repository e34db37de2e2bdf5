//! A real device: the driver's interface and cuBLAS, both opened at run time through cudarc.
#![expect(unsafe_code, reason = "the driver's interface is C; every call names what makes it sound")]

mod blas;
mod compile;
mod cublaslt;
mod cudnn;
mod kernels;
mod libraries;
mod nccl;
mod passes;
mod pinned;
mod profile;
mod survey;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result as cuda, sys as cuda_sys};
use process_group::ProcessGroup;

use self::blas::Blas;
use self::compile::Target;
use self::cublaslt::{CublasLt, Ending};
use self::cudnn::Cudnn;
use self::kernels::Kernels;
use self::libraries::Name;
use self::nccl::Nccl;
use self::pinned::{Pinned, SMALL};
use self::profile::Profile;
use super::CudaOptions;
use super::check::fail;
use super::device::{Address, CudaDtype, Device, EvenAttention, Launch, Matmul};
use crate::{Error, Result};

pub use libraries::{FoundLibrary, library_folders};
pub use survey::{FoundDriver, FoundGpu, Survey, survey};

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    fail(format!("{what}: {error}"))
}

/// How many CUDA devices there are; 0 where there is no driver.
pub fn device_count() -> usize {
    count_devices().map_or(0, Option::unwrap_or_default)
}

/// How many devices the driver has, `None` where there is no driver.
fn count_devices() -> std::result::Result<Option<usize>, cuda::DriverError> {
    // SAFETY: opens and closes a library that is installed for being opened.
    if !unsafe { cuda_sys::is_culib_present() } {
        return Ok(None);
    }
    cuda::init()?;
    Ok(Some(cuda::device::get_count()?.try_into().unwrap_or(0)))
}

/// The version of CUDA that the driver runs at most: 12040 is 12.4.
fn driver_version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the number lives.
    unsafe { cuda_sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(|error| failed("the driver does not say what it is", error))?;
    Ok(version)
}

/// A failed call, in words where it failed for want of memory.
fn failed_or_full(what: &str, full: &str, error: cuda::DriverError) -> Error {
    if error.0 == cuda_sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        failed(full, error)
    } else {
        failed(what, error)
    }
}

/// A CUDA device.
pub struct Driver {
    name: String,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// The queue of the copies beside it.
    copies: Arc<CudaStream>,
    pinned: Mutex<Pinned>,
    kernels: Kernels,
    blas: Mutex<Blas>,
    /// For products with a bias, where there is cuBLASLt.
    cublaslt: Mutex<Option<CublasLt>>,
    /// How often a product with a bias or attention went another way, by what it was.
    fallbacks: Mutex<BTreeMap<String, usize>>,
    profile: Option<Mutex<Profile>>,
    /// With which it was opened: libraries that are opened later are looked for in their folders.
    options: CudaOptions,
    /// Since the processes of a run asked for it: what joins their devices, or why nothing does.
    nccl: Mutex<Option<std::result::Result<Nccl, String>>>,
    /// Since it was first asked: what computes attention, or why nothing but the kernels does.
    cudnn: Mutex<Option<std::result::Result<Cudnn, String>>>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The element type for a GPU.
fn choose(wanted: Option<CudaDtype>, capability: (i32, i32)) -> Result<CudaDtype> {
    let (major, minor) = capability;
    let unsupported = |what: String| Err(Error::Unsupported { what });
    if capability < (7, 5) {
        return unsupported(format!("a GPU of compute capability {major}.{minor} (7.5 and later is)"));
    }
    match wanted {
        Some(CudaDtype::Bfloat16) if major < 8 => {
            unsupported(format!("bfloat16 on a GPU of compute capability {major}.{minor} (float16 is)"))
        }
        Some(dtype) => Ok(dtype),
        None if major < 8 => Ok(CudaDtype::Float16),
        None => Ok(CudaDtype::Bfloat16),
    }
}

impl Driver {
    /// Opens a device, and says which element type it is to be used with.
    pub(super) fn open(options: &CudaOptions) -> Result<(Self, CudaDtype)> {
        let count = device_count();
        if options.ordinal >= count {
            return Err(fail(format!("there is no device {} among {count}", options.ordinal)));
        }
        let (version, folders) = (driver_version()?, &options.library_folders);
        libraries::open(Name::Cublas, folders, version)?;
        let has_cublaslt = libraries::open(Name::CublasLt, folders, version).is_ok();
        let context = CudaContext::new(options.ordinal).map_err(|error| {
            let full = "the GPU's memory is held by other programs (`nvidia-smi` lists them)";
            failed_or_full("the device cannot be opened", full, error)
        })?;
        let capability = context
            .compute_capability()
            .map_err(|error| failed("the device does not say what it is", error))?;
        let dtype = choose(options.dtype, capability)?;
        let stream = context.new_stream().map_err(|error| failed("no queue", error))?;
        let copies = context.new_stream().map_err(|error| failed("no queue", error))?;
        let pinned = Mutex::new(Pinned::new(&context));
        let (kernels, target) = Kernels::load(capability, dtype, options, version)?;
        let blas = Mutex::new(Blas::open(&stream)?);
        let cublaslt = has_cublaslt.then(|| CublasLt::open(&stream, capability)).flatten();
        let profile = options.profile.then(|| Profile::open().map(Mutex::new)).transpose()?;
        let model = context.name().unwrap_or_else(|_| "unnamed".to_owned());
        let (major, minor) = capability;
        let translated = match target {
            Target::Machine(_) => String::new(),
            Target::Ptx(known) => format!(", kernels translated from {}.{}", known / 10, known % 10),
        };
        let name =
            format!("cuda:{} {model} (compute capability {major}.{minor}{translated})", options.ordinal);
        let (cublaslt, fallbacks) = (Mutex::new(cublaslt), Mutex::default());
        let (nccl, cudnn, options) = (Mutex::default(), Mutex::default(), options.clone());
        let driver = Self {
            name,
            context,
            stream,
            copies,
            pinned,
            kernels,
            blas,
            cublaslt,
            fallbacks,
            profile,
            options,
            nccl,
            cudnn,
        };
        Ok((driver, dtype))
    }

    /// Bytes that are free, and that there are.
    pub(super) fn memory(&self) -> Result<(usize, usize)> {
        self.bind()?;
        cuda::mem_get_info().map_err(|error| failed("the device does not say what memory it has", error))
    }

    fn nccl(&self) -> MutexGuard<'_, Option<std::result::Result<Nccl, String>>> {
        // It is joined once, and an error in it ends the run.
        self.nccl.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pinned(&self) -> MutexGuard<'_, Pinned> {
        // A copy that failed half way leaves whole pieces.
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for everything that is queued, and says whether that succeeded.
    fn finish(&self) -> bool {
        self.bind().is_ok() && self.copies.synchronize().is_ok() && self.stream.synchronize().is_ok()
    }

    /// Makes the device current in this thread.
    fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().map_err(|error| failed("the device cannot be used", error))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.finish() {
            return; // the context is broken, and with it goes what it holds
        }
        if let Some(Ok(nccl)) = self.nccl.get_mut().unwrap_or_else(PoisonError::into_inner) {
            nccl.close();
        }
        if let Some(Ok(cudnn)) = self.cudnn.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            cudnn.close();
        }
        self.blas.get_mut().unwrap_or_else(PoisonError::into_inner).close();
        if let Some(cublaslt) = self.cublaslt.get_mut().unwrap_or_else(PoisonError::into_inner) {
            cublaslt.close();
        }
        // SAFETY: nothing is queued any more, and nobody else has the module. An error has nobody to go to.
        let _ = unsafe { cuda::module::unload(self.kernels.module) };
    }
}

impl Device for Driver {
    type Mark = CudaEvent;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.bind()?;
        // SAFETY: the context is current.
        unsafe { cuda::malloc_sync(bytes) }.map_err(|error| {
            let advice =
                "a smaller per_device_train_batch_size, gradient_checkpointing or load_in_8bit takes less";
            let full = format!("{} MiB more than the device has ({advice})", bytes >> 20);
            failed_or_full("no memory can be had", &full, error)
        })
    }

    fn free(&self, address: Address) {
        // Freeing may wait for what is queued, which is no promise.
        if self.finish() {
            // SAFETY: the address comes from `allocate`, its owner gives it back once, and nothing uses it any more.
            let _ = unsafe { cuda::free_sync(address) };
        }
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        if bytes.len() >= SMALL {
            return self.pinned().copy(&self.stream, to, bytes);
        }
        // SAFETY: the block has room for the bytes; pageable memory is copied away before the call returns.
        unsafe { cuda::memcpy_htod_async(to, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("a copy to the device", error))
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the block holds as many bytes, which are not touched before the queue has come to its end.
        unsafe { cuda::memcpy_dtoh_async(bytes, from, self.stream.cu_stream()) }
            .and_then(|()| self.stream.synchronize())
            .map_err(|error| failed("the device did not finish its work", error))
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        self.bind()?;
        let begun = self.begin()?;
        // SAFETY: both blocks hold as many bytes and are not the same.
        unsafe { cuda::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("a copy on the device", error))?;
        self.end(begun, || "copy".to_owned())
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<()> {
        self.bind()?;
        let begun = self.begin()?;
        // SAFETY: the block holds as many bytes.
        unsafe { cuda::memset_d8_async(at, 0, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("the device cannot be written", error))?;
        self.end(begun, || "clear".to_owned())
    }

    fn mark(&self) -> Result<CudaEvent> {
        self.stream.record_event(None).map_err(|error| failed("a mark in the queue", error))
    }

    fn write_async(&self, to: Address, bytes: &[u8], after: &CudaEvent) -> Result<CudaEvent> {
        let marked = |error| failed("a mark in the queue", error);
        self.copies.wait(after).map_err(marked)?;
        self.pinned().copy(&self.copies, to, bytes)?;
        self.copies.record_event(None).map_err(marked)
    }

    fn wait_for(&self, mark: &CudaEvent) -> Result<()> {
        self.stream.wait(mark).map_err(|error| failed("a mark in the queue", error))
    }

    fn launch(&self, launch: Launch<'_>) -> Result<()> {
        self.bind()?;
        let Launch { kernel, grid: [x, y], threads, arguments } = launch;
        let function = self.kernels.get(kernel)?;
        let mut words: Vec<u64> = arguments.iter().map(|argument| argument.bits()).collect();
        let mut pointers: Vec<*mut c_void> =
            words.iter_mut().map(|word| ptr::from_mut(word).cast()).collect();
        let begun = self.begin()?;
        // SAFETY: the arguments are those that the kernel declares (the emulation checks number and meaning), each in a word of
        // its own that lives until the call returns; the kernels stay inside the blocks that they are given.
        unsafe {
            let stream = self.stream.cu_stream();
            cuda::launch_kernel(function.0, (x, y, 1), (threads, 1, 1), 0, stream, &mut pointers)
        }
        .map_err(|error| failed(&format!("the kernel `{kernel}` cannot be launched"), error))?;
        self.end(begun, || kernel.to_owned())
    }

    fn matmul(&self, product: Matmul) -> Result<()> {
        self.bind()?;
        // The handle's state is set anew by every product.
        let blas = self.blas.lock().unwrap_or_else(PoisonError::into_inner);
        if product.bias.is_none() && product.addend.is_none() {
            let begun = self.begin()?;
            blas.multiply(&product)?;
            return self.end(begun, || profile::name_of(&product));
        }
        // Plans are added whole.
        let mut cublaslt = self.cublaslt.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begin()?;
        if let Some(cublaslt) = cublaslt.as_mut()
            && cublaslt.multiply(&product, blas.zero(), Ending::Bias)?
        {
            return self.end(begun, || profile::name_of(&product));
        }
        self.matmul_in_passes(&blas, &product)
    }

    fn matmul_to_gelu(&self, product: Matmul) -> Result<bool> {
        self.bind()?;
        let zero = self.blas.lock().unwrap_or_else(PoisonError::into_inner).zero();
        // Plans are added whole.
        let mut cublaslt = self.cublaslt.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begin()?;
        let name = || format!("{}, gelu", profile::name_of(&product));
        if let Some(cublaslt) = cublaslt.as_mut()
            && cublaslt.multiply(&product, zero, Ending::Gelu)?
        {
            self.end(begun, name)?;
            return Ok(true);
        }
        *self.fallbacks().entry(name()).or_default() += 1;
        Ok(false)
    }

    fn attention(&self, attention: &EvenAttention) -> Result<bool> {
        self.attend_by_cudnn(attention)
    }

    fn leave_attention(&self, why: String) {
        self.leave_cudnn(why);
    }

    fn join(&self, group: &dyn ProcessGroup) -> Result<std::result::Result<(), String>> {
        self.join_by_nccl(group)
    }

    fn all_gather(&self, parts: (Address, usize), group: &dyn ProcessGroup) -> Result<()> {
        self.all_gather_by_nccl(parts, group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpu_decides_what_it_computes_in() {
        assert_eq!(choose(None, (7, 5)).unwrap(), CudaDtype::Float16);
        assert_eq!(choose(None, (9, 0)).unwrap(), CudaDtype::Bfloat16);
        assert_eq!(choose(Some(CudaDtype::Float32), (7, 5)).unwrap(), CudaDtype::Float32);
        assert!(matches!(choose(Some(CudaDtype::Bfloat16), (7, 5)), Err(Error::Unsupported { .. })));
        assert!(matches!(choose(None, (7, 0)), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_no_panic() {
        let options = CudaOptions { ordinal: 1000, ..CudaOptions::default() };
        let error = super::super::Cuda::open(&options).unwrap_err().to_string();
        assert!(error.contains("there is no device 1000 among"), "{error}");
    }
}
