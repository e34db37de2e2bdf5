//! The CUDA backend: buffers in f32 on the device, in bf16 what only products, attention and activations read, products with frozen matrices
//! in bf16, f16 or f32 with f32 sums, everything in one queue.
//!
//! The driver, cuBLAS and the kernel compiler NVRTC are opened when a [`Cuda`] is: a program that has this backend starts on
//! machines that have none of them. The kernels are compiled for the GPU at hand when they are first needed, and kept where
//! [`CudaOptions::kernel_cache`] says. Nothing waits for the device within a step except the loss and the norm of the gradient.
//!
//! Everything but the driver's calls is written over the trait [`Device`], so that the tests run it, kernels included, on a
//! device that the CPU emulates.

mod adapters;
mod attention;
mod buffer;
mod check;
mod device;
mod driver;
mod even;
mod fused;
mod joined;
mod matmul;
mod norm;
mod operations;
mod packed;
mod pixels;
mod pointwise;
mod rope;
mod staging;
mod storage;
mod sums;
mod together;
mod weight;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{emulated, of_this_machine};

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use self::buffer::{Block, Pool};
use self::even::Trust;
use self::packed::Packed;
use self::staging::Staging;
use crate::Result;
use crate::backend::GpuProfile;

pub use buffer::Buffer;
pub use device::{
    Address, Argument, CudaDtype, Device, EvenAttention, EvenShape, Factor, Launch, Matmul, Operands,
};
pub use driver::{
    Driver, FoundDriver, FoundGpu, FoundLibrary, Survey, device_count, library_folders, survey,
};
pub use weight::Weight;

/// The kernels, one program.
const SOURCE: &str = concat!(
    include_str!("kernels/base.cu"),
    include_str!("kernels/pointwise.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/tiles.cu"),
    include_str!("kernels/attention.cu"),
    include_str!("kernels/jobs.cu"),
    include_str!("kernels/adapters.cu"),
    include_str!("kernels/borders.cu"),
);

/// Threads of a block of the kernels that have no reason for another number.
const THREADS: u32 = 256;
/// Blocks of a kernel whose threads go over the elements in steps: enough to fill every GPU several times.
const MOST_BLOCKS: usize = 4096;
/// Arrays of indices that stay on the device, because the next call most likely brings them again.
const KEPT_WORDS: usize = 64;

/// Which device a [`Cuda`] uses, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// The number of the device.
    pub ordinal: usize,
    /// The element of frozen matrices and of products with them; by default bf16 where the GPU has it, else f16.
    pub dtype: Option<CudaDtype>,
    /// Whether frozen matrices are kept as 8-bit integers, a scale a row, and dequantized for each product.
    pub load_in_8bit: bool,
    /// A folder in which compiled kernels are kept; without one they are compiled at each start, which takes some seconds.
    pub kernel_cache: Option<PathBuf>,
    /// Where NVIDIA's libraries are looked for that the loader does not find, as [`library_folders`] lists them.
    pub library_folders: Vec<PathBuf>,
    /// Compiles the kernels for this older compute capability and has the driver translate them, for tests of what such GPUs
    /// run.
    pub ptx: Option<(i32, i32)>,
    /// Whether every kernel and product is timed, which costs a little: see [`Cuda::profile`].
    pub profile: bool,
    /// Whether attention is left to the kernels even where cuDNN is found.
    pub without_cudnn: bool,
}

/// An array of indices and where it is on the device.
type Words<D> = (Vec<u32>, Arc<Block<D>>);

/// The backend of one device.
pub struct Cuda<D: Device = Driver> {
    pool: Arc<Pool<D>>,
    dtype: CudaDtype,
    integers: bool,
    /// Elements behind each row of operands, for what adapters put there.
    room: AtomicUsize,
    /// Zeros, in which blocks count who is the last.
    tickets: OnceLock<Block<D>>,
    /// Matrices with those of adapters beside and below them.
    bordered: Mutex<Vec<Weak<Packed<D>>>>,
    words: Mutex<VecDeque<Words<D>>>,
    staging: Staging<D>,
    /// Whether the device's own attention is used, by what it was asked for.
    trust: Mutex<HashMap<EvenShape, Trust>>,
}

impl<D: Device> std::fmt::Debug for Cuda<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cuda")
            .field("dtype", &self.dtype)
            .field("integers", &self.integers)
            .finish_non_exhaustive()
    }
}

impl Cuda {
    /// Opens a device and makes its kernels ready.
    ///
    /// # Errors
    /// [`Error::Backend`](crate::Error::Backend) where the driver, the device, cuBLAS or NVRTC is missing or fails,
    /// [`Error::Unsupported`](crate::Error::Unsupported) where the GPU does not have the element type.
    pub fn open(options: &CudaOptions) -> Result<Self> {
        let (driver, dtype) = Driver::open(options)?;
        Ok(Self::on(driver, dtype, options.load_in_8bit))
    }

    /// Bytes of the device's memory that are free, and that there are.
    ///
    /// # Errors
    /// When the driver does not say.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.device().memory()
    }

    /// What kernels and products have taken so far, where that was asked for, and what went another way: products that found
    /// no plan with their bias, attention without cuDNN.
    ///
    /// # Errors
    /// When the device did not finish its work.
    pub fn profile(&self) -> Result<GpuProfile> {
        self.device().profile()
    }
}

impl<D: Device> Cuda<D> {
    fn on(device: D, dtype: CudaDtype, integers: bool) -> Self {
        Self {
            pool: Arc::new(Pool::new(device)),
            dtype,
            integers,
            room: AtomicUsize::new(0),
            tickets: OnceLock::new(),
            bordered: Mutex::default(),
            words: Mutex::default(),
            staging: Staging::default(),
            trust: Mutex::default(),
        }
    }

    /// The element of products with frozen matrices.
    pub fn dtype(&self) -> CudaDtype {
        self.dtype
    }

    /// The most bytes of the device that buffers and matrices have held at one time.
    pub fn peak_bytes(&self) -> usize {
        self.pool.peak()
    }

    fn device(&self) -> &D {
        &self.pool.device
    }

    /// A copy of `bytes` on the device.
    fn block_of(&self, bytes: &[u8]) -> Result<Block<D>> {
        let block = Block::new(&self.pool, bytes.len())?;
        self.device().write(block.address, bytes)?;
        Ok(block)
    }

    /// These numbers on the device, where they stay for a while.
    fn words(&self, values: &[u32]) -> Result<Arc<Block<D>>> {
        // A panic elsewhere leaves the list whole: entries are pushed and popped as one.
        let mut kept = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == values)
            && let Some(entry) = kept.remove(at)
        {
            let block = Arc::clone(&entry.1);
            kept.push_front(entry);
            return Ok(block);
        }
        let block = Arc::new(self.block_of(bytemuck::cast_slice(values))?);
        kept.push_front((values.to_vec(), Arc::clone(&block)));
        kept.truncate(KEPT_WORDS);
        Ok(block)
    }

    fn launch(&self, kernel: &str, grid: [u32; 2], threads: u32, arguments: &[Argument]) -> Result<()> {
        self.device().launch(Launch { kernel, grid, threads, arguments })
    }

    /// A kernel over `n` elements.
    fn each(&self, kernel: &str, n: usize, arguments: &[Argument]) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let blocks = n.div_ceil(THREADS as usize).min(MOST_BLOCKS) as u32;
        self.launch(kernel, [blocks, 1], THREADS, arguments)
    }

    /// A kernel that gives each of `rows` rows to one of the four warps of a block.
    fn each_row(&self, kernel: &str, rows: usize, arguments: &[Argument]) -> Result<()> {
        const ROWS: usize = 4;
        if rows == 0 {
            return Ok(());
        }
        self.launch(kernel, [check::to_u32("rows", rows.div_ceil(ROWS))?, 1], ROWS as u32 * 32, arguments)
    }
}

/// The number of elements as kernels take it.
fn count(n: usize) -> device::Argument {
    device::Argument::Word(n as u64)
}

/// Whether a kernel adds to what is there.
fn flag(write: crate::backend::Write) -> device::Argument {
    device::Argument::U32(u32::from(write == crate::backend::Write::Add))
}

/// The address of element `index` of an array of f32.
fn element(at: Address, index: usize) -> Argument {
    Argument::Word(at + 4 * index as u64)
}
