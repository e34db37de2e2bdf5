//! What each kernel and product takes: two marks around each, added up by name.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use cudarc::driver::{CudaEvent, sys as cuda_sys};
use libloading::Library;

use super::{Driver, failed};
use crate::Result;
use crate::backend::cuda::check::fail;
use crate::backend::cuda::device::{Matmul, Operands};
use crate::backend::{GpuProfile, ProfileLine};

/// Pairs of marks that are kept before the queue is waited for.
const MOST_PENDING: usize = 8192;

/// Milliseconds between two marks that have come. The driver has had it from the beginning; the newer form that cudarc calls is
/// missing from older ones.
type Elapsed = unsafe extern "C" fn(*mut f32, cuda_sys::CUevent, cuda_sys::CUevent) -> cuda_sys::CUresult;

/// Times by name.
pub(super) struct Profile {
    elapsed: Elapsed,
    /// Where `elapsed` stands.
    _driver: Library,
    pending: Vec<(String, CudaEvent, CudaEvent)>,
    /// How often, and milliseconds.
    sums: BTreeMap<String, (usize, f64)>,
}

/// A product as a line of the table names it.
pub(super) fn name_of(product: &Matmul) -> String {
    let Matmul { m, n, k, operands, accumulate, addend, bias, .. } = *product;
    let element = match operands {
        Operands::Exact => "f32",
        Operands::Float32 => "tf32",
        Operands::Float16 => "f16",
        Operands::Bfloat16 => "bf16",
    };
    let (bias, added) = (
        if bias.is_some() { " + bias" } else { "" },
        if accumulate || addend.is_some() { ", added" } else { "" },
    );
    format!("product {m} x {k} x {n} {element}{bias}{added}")
}

impl Profile {
    pub(super) fn open() -> Result<Self> {
        let names = cudarc::get_lib_name_candidates("cuda");
        // SAFETY: the driver, which is open already.
        let driver = names
            .iter()
            .find_map(|name| unsafe { Library::new(name.as_str()) }.ok())
            .ok_or_else(|| fail("the driver is gone"))?;
        // SAFETY: the call has this type in every version.
        let elapsed = *unsafe { driver.get::<Elapsed>(b"cuEventElapsedTime\0") }
            .map_err(|error| failed("the driver times nothing", error))?;
        Ok(Self { elapsed, _driver: driver, pending: Vec::new(), sums: BTreeMap::new() })
    }

    pub(super) fn push(&mut self, name: String, begun: CudaEvent, ended: CudaEvent) -> Result<()> {
        self.pending.push((name, begun, ended));
        if self.pending.len() < MOST_PENDING { Ok(()) } else { self.settle() }
    }

    /// Waits for the last mark and adds everything up.
    fn settle(&mut self) -> Result<()> {
        let Some((_, _, last)) = self.pending.last() else { return Ok(()) };
        last.synchronize().map_err(|error| failed("the device did not finish its work", error))?;
        for (name, begun, ended) in self.pending.drain(..) {
            let mut milliseconds = 0.0;
            // SAFETY: both marks are alive and have come.
            unsafe { (self.elapsed)(&raw mut milliseconds, begun.cu_event(), ended.cu_event()) }
                .result()
                .map_err(|error| failed("the device does not say how long it took", error))?;
            let (calls, sum) = self.sums.entry(name).or_default();
            *calls += 1;
            *sum += f64::from(milliseconds);
        }
        Ok(())
    }

    /// What took longest first.
    pub(super) fn lines(&mut self) -> Result<Vec<ProfileLine>> {
        self.settle()?;
        let of = |(name, &(calls, milliseconds)): (&String, &(usize, f64))| ProfileLine {
            name: name.clone(),
            calls,
            milliseconds,
        };
        let mut lines: Vec<ProfileLine> = self.sums.iter().map(of).collect();
        lines.sort_by(|one, other| other.milliseconds.total_cmp(&one.milliseconds));
        Ok(lines)
    }
}

impl Driver {
    pub(super) fn fallbacks(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Counts for people, which nothing interrupts half way.
        self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been timed so far, and which products went another way.
    pub(in crate::backend::cuda) fn profile(&self) -> Result<GpuProfile> {
        self.bind()?;
        let lines = match &self.profile {
            Some(profile) => profile.lock().unwrap_or_else(PoisonError::into_inner).lines()?,
            None => Vec::new(),
        };
        Ok(GpuProfile { lines, fallbacks: self.fallbacks().clone() })
    }

    /// Begins to time what is queued next, where that is asked for.
    pub(super) fn begin(&self) -> Result<Option<CudaEvent>> {
        self.profile.as_ref().map(|_| self.timed_mark()).transpose()
    }

    fn timed_mark(&self) -> Result<CudaEvent> {
        let flags = Some(cuda_sys::CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(flags).map_err(|error| failed("a mark in the queue", error))
    }

    pub(super) fn end(&self, begun: Option<CudaEvent>, name: impl FnOnce() -> String) -> Result<()> {
        let (Some(begun), Some(profile)) = (begun, &self.profile) else { return Ok(()) };
        let ended = self.timed_mark()?;
        // Lines are pushed whole.
        profile.lock().unwrap_or_else(PoisonError::into_inner).push(name(), begun, ended)
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}
