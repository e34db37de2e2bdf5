//! How cuDNN computes a graph: the first of the ways that it deems fast which it can build and which needs little memory.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::result as cuda;

use super::calls::{Attempt, Attribute, Descriptor, Functions, Handle, Raw};
use super::graph::{DESCRIPTOR, Graph, HANDLE, INT64, Named};
use crate::backend::cuda::device::{Address, EvenAttention};

/// Kinds of descriptors.
const ENGINE_CONFIGURATION: c_int = 3;
const HEURISTIC: c_int = 4;
pub(super) const PLAN: c_int = 5;
const POINTERS: c_int = 16;

/// Types of attributes.
const HEURISTIC_MODE: c_int = 8;
const POINTER: c_int = 6;

/// By rules rather than by measuring.
const BY_RULES: c_int = 3;
/// Ways that are tried.
const MOST_WAYS: usize = 8;
/// Bytes that a way may need to work in.
const MOST_WORKSPACE: i64 = 32 << 20;

/// What stands for masked scores: the lowest number where versions before 9.10 ask for that.
fn masked(version: usize) -> f32 {
    if version < 91_000 { f32::MIN } else { f32::NEG_INFINITY }
}

/// A graph that can be queued.
pub(super) struct Plan {
    descriptor: Descriptor,
    /// What it was made from, dropped after it.
    _way: Descriptor,
    _graph: Graph,
    /// 0 where none is needed.
    workspace: Address,
}

pub(super) const WAY: Attribute<Raw> = Attribute::new(401, DESCRIPTOR);
pub(super) const WORKSPACE: Attribute<i64> = Attribute::new(402, INT64);

/// The ways that the library knows, the best first; `more` is said of the question.
pub(super) fn ways(
    functions: &Arc<Functions>,
    graph: &Graph,
    more: impl FnOnce(&Descriptor) -> Attempt<()>,
) -> Attempt<Vec<Descriptor>> {
    const MODE: Attribute<c_int> = Attribute::new(200, HEURISTIC_MODE);
    const GRAPH: Attribute<Raw> = Attribute::new(201, DESCRIPTOR);
    const RESULTS: Attribute<Raw> = Attribute::new(202, DESCRIPTOR);
    let heuristic = Descriptor::new(functions, HEURISTIC)?;
    heuristic.set(GRAPH, &[graph.raw()])?;
    heuristic.set(MODE, &[BY_RULES])?;
    more(&heuristic)?;
    heuristic.finalize("no way is known")?;
    let count = heuristic.get(RESULTS, &mut [])?.min(MOST_WAYS);
    let mut ways: Vec<Descriptor> =
        (0..count).map(|_| Descriptor::new(functions, ENGINE_CONFIGURATION)).collect::<Attempt<_>>()?;
    let mut raws: Vec<Raw> = ways.iter().map(Descriptor::raw).collect();
    let found = heuristic.get(RESULTS, &mut raws)?;
    ways.truncate(found);
    Ok(ways)
}

/// One way, and how many bytes it works in.
fn build(functions: &Arc<Functions>, handle: Handle, way: &Descriptor) -> Attempt<(Descriptor, i64)> {
    const OF: Attribute<Handle> = Attribute::new(400, HANDLE);
    let plan = Descriptor::new(functions, PLAN)?;
    plan.set(OF, &[handle])?;
    plan.set(WAY, &[way.raw()])?;
    plan.finalize("a plan")?;
    let mut bytes = [0];
    plan.get(WORKSPACE, &mut bytes)?;
    match bytes[0] {
        0..=MOST_WORKSPACE => Ok((plan, bytes[0])),
        bytes => Err(format!("a plan that needs {} MiB", bytes >> 20)),
    }
}

impl Plan {
    pub(super) fn choose(functions: &Arc<Functions>, handle: Handle, graph: Graph) -> Attempt<Self> {
        let mut why = "it knows no way for this shape".to_owned();
        for way in ways(functions, &graph, |_| Ok(()))? {
            match build(functions, handle, &way) {
                Ok((plan, bytes)) => {
                    let workspace = if bytes == 0 { 0 } else { allocate(bytes as usize)? };
                    return Ok(Self { descriptor: plan, _way: way, _graph: graph, workspace });
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Queues it.
    pub(super) fn queue(
        &self,
        functions: &Arc<Functions>,
        handle: Handle,
        attention: &EvenAttention,
    ) -> Attempt<()> {
        const POINTERS_TO: Attribute<*mut c_void> = Attribute::new(1001, POINTER);
        const NAMES: Attribute<i64> = Attribute::new(1000, INT64);
        const WORK_IN: Attribute<*mut c_void> = Attribute::new(1003, POINTER);
        let EvenAttention { shape, q, k, v, o, lse, scale } = *attention;
        let masked = masked(functions.version());
        let mut named: Vec<(Named, *mut c_void)> =
            [(Named::Q, q), (Named::K, k), (Named::V, v), (Named::O, o)]
                .into_iter()
                .chain(lse.map(|at| (Named::Lse, at)))
                .map(|(name, at)| (name, at as *mut c_void))
                .collect();
        named.push((Named::Scale, ptr::from_ref(&scale).cast_mut().cast()));
        if shape.causal {
            named.push((Named::Masked, ptr::from_ref(&masked).cast_mut().cast()));
        }
        let (names, pointers): (Vec<i64>, Vec<_>) =
            named.into_iter().map(|(name, at)| (name as i64, at)).unzip();
        let with = Descriptor::new(functions, POINTERS)?;
        with.set(POINTERS_TO, &pointers)?;
        with.set(NAMES, &names)?;
        with.set(WORK_IN, &[self.workspace as *mut c_void])?;
        with.finalize("what it works on")?;
        // SAFETY: the caller's blocks are as large as the shape says, whose tensors the plan has; both numbers live until the call
        // returns, which reads them; one plan after the other runs, and only this one has the workspace.
        unsafe { functions.execute(handle, &self.descriptor, &with) }
    }

    /// Gives back its memory, once nothing is queued any more.
    pub(super) fn close(self) {
        if self.workspace != 0 {
            // SAFETY: allocated in `choose`. An error has nobody to go to.
            let _ = unsafe { cuda::free_sync(self.workspace) };
        }
    }
}

fn allocate(bytes: usize) -> Attempt<Address> {
    // SAFETY: the context is current.
    unsafe { cuda::malloc_sync(bytes) }.map_err(|error| format!("no memory to work in: {error}"))
}
