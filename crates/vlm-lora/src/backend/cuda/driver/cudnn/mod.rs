//! Attention by cuDNN, where the library is found and knows a way. It is opened when it is first asked; where anything fails there, the
//! reason is kept and the caller has its kernels.

mod calls;
mod graph;
mod plan;
#[cfg(all(test, target_os = "linux"))]
mod real;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, MutexGuard, PoisonError};

use cudarc::driver::CudaStream;

use self::calls::{Attempt, Functions, Handle};
use self::graph::{ALIGNMENT, Graph};
use self::plan::Plan;
use super::libraries::{self, Name};
use super::{CudaOptions, Driver, driver_version};
use crate::Result;
use crate::backend::cuda::device::{EvenAttention, EvenShape};

/// Shapes that are planned; the kernels take the rest. A plan takes the library half a second.
const MOST_PLANS: usize = 16;

/// The library with its plans.
pub(super) struct Cudnn {
    functions: Arc<Functions>,
    handle: Handle,
    /// By shape, and whether the log-sum-exps are wanted; else why there is none.
    plans: HashMap<(EvenShape, bool), Attempt<Plan>>,
    /// Why nothing is asked of it any more.
    left: Option<String>,
}

// SAFETY: handles that one thread at a time may use; they are kept in a mutex.
unsafe impl Send for Cudnn {}

/// What is written of attention in the table of times and in the list of what went another way.
fn name_of(shape: &EvenShape) -> String {
    let EvenShape { sequences, length, heads, kv_heads, head_dim, causal, .. } = *shape;
    let masked = if causal { ", masked" } else { "" };
    format!("attention {sequences} x {length}, {heads} over {kv_heads} heads of {head_dim}{masked}")
}

impl Cudnn {
    /// The library; else why it is not used. The context is current, and the stream must outlive the result.
    fn open(stream: &CudaStream, options: &CudaOptions) -> Attempt<Self> {
        if options.without_cudnn {
            return Err("it is not wanted".to_owned());
        }
        let said = |error: crate::Error| error.to_string();
        let version = driver_version().map_err(said)?;
        libraries::open(Name::Cudnn, &options.library_folders, version).map_err(said)?;
        let functions =
            libraries::with(Name::Cudnn, Functions::of).unwrap_or_else(|| Err("it is gone".to_owned()))?;
        let handle = functions.open(stream.cu_stream().cast::<c_void>())?;
        Ok(Self { functions: Arc::new(functions), handle, plans: HashMap::new(), left: None })
    }

    /// Queues attention; else why not.
    fn attend(&mut self, attention: &EvenAttention) -> Attempt<()> {
        if let Some(why) = &self.left {
            return Err(why.clone());
        }
        let EvenAttention { shape, q, k, v, o, lse, .. } = *attention;
        let is_aligned = [q, k, v, o].into_iter().chain(shape.apart.map(|elements| 2 * elements as u64));
        if !is_aligned.chain(lse).all(|at| at.is_multiple_of(ALIGNMENT)) {
            return Err(format!("addresses that are no multiples of {ALIGNMENT}"));
        }
        let key = (shape, lse.is_some());
        if !self.plans.contains_key(&key) {
            if self.plans.len() >= MOST_PLANS {
                return Err(format!("{MOST_PLANS} other shapes are planned"));
            }
            let plan = Graph::attention(&self.functions, Some(self.handle), &shape, key.1)
                .and_then(|graph| Plan::choose(&self.functions, self.handle, graph));
            self.plans.insert(key, plan);
        }
        match &self.plans[&key] {
            Ok(plan) => {
                let queued = plan.queue(&self.functions, self.handle, attention);
                // What fails once is not asked again; its memory may be in the queue.
                queued.inspect_err(|why| self.left = Some(why.clone()))
            }
            Err(why) => Err(why.clone()),
        }
    }

    /// Gives back what it holds, when nothing is queued any more.
    pub(super) fn close(self) {
        self.plans.into_values().flatten().for_each(Plan::close);
        self.functions.close(self.handle);
    }
}

impl Driver {
    pub(super) fn cudnn(&self) -> MutexGuard<'_, Option<Attempt<Cudnn>>> {
        // Plans are added whole.
        self.cudnn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens cuDNN, unless that was tried; why it is not used.
    pub(in crate::backend::cuda) fn cudnn_obstacle(&self) -> Result<Option<String>> {
        self.bind()?;
        let mut opened = self.cudnn();
        let opened = opened.get_or_insert_with(|| Cudnn::open(&self.stream, &self.options));
        Ok(opened.as_ref().err().cloned())
    }

    /// As [`Device::attention`](super::super::device::Device::attention).
    pub(super) fn attend_by_cudnn(&self, attention: &EvenAttention) -> Result<bool> {
        self.bind()?;
        let mut opened = self.cudnn();
        let opened = opened.get_or_insert_with(|| Cudnn::open(&self.stream, &self.options));
        let begun = self.begin()?;
        let queued = match opened {
            Ok(cudnn) => cudnn.attend(attention),
            Err(why) => Err(why.clone()),
        };
        let name = name_of(&attention.shape);
        match queued {
            Ok(()) => {
                self.end(begun, || name)?;
                Ok(true)
            }
            Err(why) => {
                *self.fallbacks().entry(format!("{name}: no cuDNN, {why}")).or_default() += 1;
                Ok(false)
            }
        }
    }

    /// As [`Device::leave_attention`](super::super::device::Device::leave_attention).
    pub(super) fn leave_cudnn(&self, why: String) {
        *self.fallbacks().entry(format!("attention: no cuDNN, {why}")).or_default() += 1;
        if let Some(Ok(cudnn)) = &mut *self.cudnn() {
            cudnn.left = Some(why);
        }
    }
}
