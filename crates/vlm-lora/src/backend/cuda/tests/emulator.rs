//! A device that the CPU emulates: the kernels' own source, compiled as C++, with host memory.
#![expect(
    unsafe_code,
    reason = "calls a library that is built here, with addresses of memory that is allocated here"
)]

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use half::{bf16, f16};
use libloading::{Library, Symbol};
use process_group::ProcessGroup;

use crate::Result;
use crate::backend::cuda::SOURCE;
use crate::backend::cuda::check::fail;
use crate::backend::cuda::device::{
    Address, Argument, CudaDtype, Device, Factor, Launch, Matmul, Operands, Results,
};

pub(super) const HEADER: &str = include_str!("emulation.hpp");
pub(super) const ENTRY: &str = include_str!("emulation.cpp");
/// Bytes behind each block that nobody may write.
const ZONE: usize = 256;
const MARK: u8 = 0xA5;

type Emulate = unsafe extern "C" fn(*const c_char, *const u32, u32, *const u64, usize, c_int) -> c_int;

/// The device.
pub(crate) struct Emulator {
    library: &'static Library,
    /// Sizes of the blocks that are allocated.
    blocks: Mutex<BTreeMap<Address, usize>>,
    queue: Mutex<Queue>,
    /// Whether the threads of a block take their turns from the last to the first.
    reversed: bool,
}

/// What has been queued, and what is copied beside it.
#[derive(Default)]
struct Queue {
    /// How many calls there were.
    calls: u64,
    /// The last call that was given each block.
    touched: BTreeMap<Address, u64>,
    /// Copies that nothing has waited for: they arrive as late as they may.
    copies: BTreeMap<usize, (Address, Vec<u8>)>,
    begun: usize,
}

/// A place in the queue, or the end of a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    Queued(u64),
    Copied(usize),
}

/// The kernels for a precision, compiled once.
fn library(dtype: CudaDtype) -> &'static Library {
    static LIBRARIES: [OnceLock<Library>; 3] = [const { OnceLock::new() }; 3];
    LIBRARIES[usize::from(dtype.precision())].get_or_init(|| build(dtype))
}

/// A C++ compiler, without which the CUDA backend is not tested.
pub(in crate::backend::cuda) fn compiler() -> String {
    let wanted = std::env::var("CXX").ok();
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    wanted
        .into_iter()
        .chain(["c++", "g++", "clang++"].map(String::from))
        .find(works)
        .expect("CXX, c++, g++ or clang++ is there")
}

fn build(dtype: CudaDtype) -> Library {
    let compiler = compiler();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, library): (PathBuf, PathBuf) = (folder.path().join("k.cpp"), folder.path().join("libk.so"));
    std::fs::write(&source, [HEADER, SOURCE, ENTRY].concat()).expect("the temporary folder can be written");
    let output = Command::new(compiler)
        .args(["-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-fPIC", "-shared", "-w"])
        .arg(format!("-DPRECISION={}", dtype.precision()))
        .arg("-o")
        .args([&library, &source])
        .output()
        .expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    open(&library)
}

fn open(library: &Path) -> Library {
    // SAFETY: the library was built above and does nothing when it is opened.
    unsafe { Library::new(library) }.expect("the library can be opened")
}

impl Emulator {
    /// A device for these kernels.
    pub(crate) fn new(dtype: CudaDtype, reversed: bool) -> Self {
        Self { library: library(dtype), blocks: Mutex::default(), queue: Mutex::default(), reversed }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().expect("no test panics with it")
    }

    /// Where the block begins that an address lies in.
    fn block(&self, at: Address) -> Option<Address> {
        let blocks = self.blocks.lock().expect("no test panics with it");
        let (&start, &size) = blocks.range(..=at).next_back()?;
        (at < start + size as u64).then_some(start)
    }

    /// Remembers a call that was given these addresses.
    fn touch(&self, addresses: impl IntoIterator<Item = Address>) {
        let blocks: Vec<Address> = addresses.into_iter().filter_map(|at| self.block(at)).collect();
        let mut queue = self.queue();
        queue.calls += 1;
        let call = queue.calls;
        queue.touched.extend(blocks.into_iter().map(|block| (block, call)));
    }

    /// Checks that a range lies in one block.
    fn check(&self, at: Address, bytes: usize) -> Result<()> {
        let blocks = self.blocks.lock().expect("no test panics with it");
        let block = blocks.range(..=at).next_back();
        let inside = block.is_some_and(|(start, size)| at + bytes as u64 <= start + *size as u64);
        if inside { Ok(()) } else { Err(fail(format!("{bytes} bytes at {at:#x} are not in one block"))) }
    }

    /// Fails where somebody wrote behind a block.
    fn check_zones(&self, after: &str) -> Result<()> {
        for (&start, &size) in self.blocks.lock().expect("no test panics with it").iter() {
            // SAFETY: every block was allocated with its zone.
            let zone = unsafe { std::slice::from_raw_parts((start + size as u64) as *const u8, ZONE) };
            if zone.iter().any(|&byte| byte != MARK) {
                return Err(fail(format!("{after} wrote behind a block of {size} bytes")));
            }
        }
        Ok(())
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + ZONE, 256).expect("a size that exists")
}

/// Element `i` of an operand.
fn read(at: Address, i: usize, operands: Operands) -> f64 {
    // SAFETY: `multiply` has checked the range.
    unsafe {
        match operands {
            Operands::Exact | Operands::Float32 => f64::from((at as *const f32).add(i).read()),
            Operands::Float16 => f16::from_bits((at as *const u16).add(i).read()).to_f64(),
            Operands::Bfloat16 => bf16::from_bits((at as *const u16).add(i).read()).to_f64(),
        }
    }
}

impl Device for Emulator {
    type Mark = Mark;

    fn name(&self) -> String {
        "emulation".to_owned()
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        // SAFETY: the size is not 0.
        let start = unsafe { std::alloc::alloc(layout(bytes)) };
        // NaNs, so that nobody gets away with reading what was never written.
        // SAFETY: as much was allocated.
        unsafe {
            start.write_bytes(0xff, bytes);
            start.add(bytes).write_bytes(MARK, ZONE);
        }
        self.blocks.lock().expect("no test panics with it").insert(start as Address, bytes);
        Ok(start as Address)
    }

    fn free(&self, address: Address) {
        let size = self.blocks.lock().expect("no test panics with it").remove(&address);
        let size = size.expect("a block is given back once");
        // SAFETY: allocated above with this layout.
        unsafe { std::alloc::dealloc(address as *mut u8, layout(size)) };
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.check(to, bytes.len())?;
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.check(from, bytes.len())?;
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        self.check(from, bytes)?;
        self.check(to, bytes)?;
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<()> {
        self.check(at, bytes)?;
        // SAFETY: checked.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark::Queued(self.queue().calls))
    }

    fn write_async(&self, to: Address, bytes: &[u8], after: &Mark) -> Result<Mark> {
        self.check(to, bytes.len())?;
        let (block, mut queue) = (self.block(to), self.queue());
        let last = block.and_then(|block| queue.touched.get(&block).copied()).unwrap_or(0);
        if !matches!(after, Mark::Queued(call) if *call >= last) {
            return Err(fail(format!("a copy after {after:?} overwrites what call {last} still reads")));
        }
        queue.begun += 1;
        let copy = queue.begun;
        queue.copies.insert(copy, (to, bytes.to_vec()));
        Ok(Mark::Copied(copy))
    }

    fn wait_for(&self, mark: &Mark) -> Result<()> {
        let Mark::Copied(copy) = mark else { return Ok(()) };
        let arrived = self.queue().copies.remove(copy);
        arrived.map_or(Ok(()), |(to, bytes)| self.write(to, &bytes))
    }

    fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let Launch { kernel, grid: [x, y], threads, arguments } = launch;
        self.touch(arguments.iter().filter_map(|argument| match argument {
            Argument::Word(word) => Some(*word),
            _ => None,
        }));
        let name = CString::new(kernel).expect("names have no zeros");
        let words: Vec<u64> = arguments.iter().map(|argument| argument.bits()).collect();
        // SAFETY: the entry has this type in `emulation.cpp`.
        let emulate: Symbol<'_, Emulate> =
            unsafe { self.library.get(b"emulate\0") }.expect("the entry is there");
        let grid = [x, y, 1];
        // SAFETY: the kernels stay inside their blocks, which the zones check afterwards.
        let status = unsafe {
            let reversed = c_int::from(self.reversed);
            emulate(name.as_ptr(), grid.as_ptr(), threads, words.as_ptr(), words.len(), reversed)
        };
        if status != 0 {
            return Err(fail(format!("the emulation of `{kernel}` failed with {status}")));
        }
        self.check_zones(kernel)
    }

    fn join(&self, _: &dyn ProcessGroup) -> Result<std::result::Result<(), String>> {
        Ok(Ok(()))
    }

    fn all_gather(&self, (parts, count): (Address, usize), group: &dyn ProcessGroup) -> Result<()> {
        let bytes = 4 * count;
        let part = |rank: usize| parts + (bytes * rank) as u64;
        let mut own = vec![0; bytes];
        self.read(part(group.rank()), &mut own)?;
        let all = group.all_gather(&own)?;
        all.iter().enumerate().try_for_each(|(rank, bytes)| self.write(part(rank), bytes))
    }

    fn matmul(&self, product: Matmul) -> Result<()> {
        self.multiply(product, |x| x)
    }

    fn matmul_to_gelu(&self, product: Matmul) -> Result<bool> {
        let is_asked = product.bias.is_some() && !product.accumulate && product.results == Results::Operands;
        if !is_asked || matches!(product.factor, Factor::At(_)) {
            return Err(fail("nobody asks for that".to_owned()));
        }
        self.multiply(product, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        })?;
        Ok(true)
    }
}

impl Emulator {
    /// A product, of which each result becomes `end` of it.
    fn multiply(&self, product: Matmul, end: impl Fn(f64) -> f64) -> Result<()> {
        let Matmul { m, n, k, transpose_a, transpose_b, a, b, c, operands, factor, accumulate, bias, .. } =
            product;
        let ([of_a, of_b, of_c], results) = (product.strides, result_type(&product));
        let bytes = |rows: usize, width: usize, stride: usize, of: Operands| {
            ((rows - 1) * stride + width)
                * if matches!(of, Operands::Exact | Operands::Float32) { 4 } else { 2 }
        };
        let stored = |transposed: bool, (rows, width): (usize, usize)| {
            if transposed { (width, rows) } else { (rows, width) }
        };
        let (a_stored, b_stored) = (stored(transpose_a, (m, k)), stored(transpose_b, (k, n)));
        self.check(a, bytes(a_stored.0, a_stored.1, of_a, operands))?;
        self.check(b, bytes(b_stored.0, b_stored.1, of_b, operands))?;
        self.check(c, bytes(m, n, of_c, results))?;
        bias.map_or(Ok(()), |bias| self.check(bias, bytes(1, n, n, results)))?;
        product.addend.map_or(Ok(()), |addend| self.check(addend, bytes(m, n, of_c, results)))?;
        self.touch([a, b, c].into_iter().chain(bias).chain(product.addend));
        let bias = |column| bias.map_or(0.0, |at| read(at, column, results));
        let factor = match factor {
            Factor::Value(value) => f64::from(value),
            Factor::At(at) => read(at, 0, Operands::Exact),
        };
        let at = |row, column, stride, transposed| {
            if transposed { column * stride + row } else { row * stride + column }
        };
        for row in 0..m {
            for column in 0..n {
                let pair = |l| {
                    read(a, at(row, l, of_a, transpose_a), operands)
                        * read(b, at(l, column, of_b, transpose_b), operands)
                };
                let to = row * of_c + column;
                let start = match product.addend {
                    Some(addend) => read(addend, to, results),
                    None if accumulate => read(c, to, results),
                    None => 0.0,
                };
                let sum = factor * (0..k).map(pair).sum::<f64>() + start + bias(column);
                write(c, to, results, end(f64::from(sum as f32)));
            }
        }
        Ok(())
    }
}

/// The type of the results of a product.
fn result_type(product: &Matmul) -> Operands {
    if product.results == Results::Operands { product.operands } else { Operands::Exact }
}

/// Writes number `i`.
fn write(at: Address, i: usize, operands: Operands, value: f64) {
    // SAFETY: `multiply` has checked the range.
    unsafe {
        match operands {
            Operands::Exact | Operands::Float32 => (at as *mut f32).add(i).write(value as f32),
            Operands::Float16 => (at as *mut u16).add(i).write(f16::from_f64(value).to_bits()),
            Operands::Bfloat16 => (at as *mut u16).add(i).write(bf16::from_f64(value).to_bits()),
        }
    }
}
