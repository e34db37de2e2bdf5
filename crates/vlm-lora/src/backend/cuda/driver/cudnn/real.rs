//! The graph as the real library reads it, planned for a GPU that is described to it and need not be there.

use std::process::Command;

use cudarc::driver::sys as cuda_sys;

use super::calls::{Attribute, Descriptor, Raw};
use super::plan::{PLAN, WAY, WORKSPACE, ways};
use super::*;
use crate::backend::cuda::library_folders;
use crate::backend::cuda::tests::compiler;

/// What of the driver such a plan needs: its version, and modules that nobody calls.
const DRIVER: &str = r"
#define NOTHING(name, result) int name(void) { return result; }
#define PLACE(name) int name(void** at) { static char place[4096]; *at = place; return 0; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuKernelGetAttribute(int* value) { *value = 64; return 0; }
PLACE(cuLibraryLoadData) PLACE(cuLibraryGetKernel) PLACE(cuKernelGetFunction)
NOTHING(cuKernelSetAttribute, 0) NOTHING(cuLibraryUnload, 0)
NOTHING(cuCtxGetCurrent, 100) NOTHING(cuCtxGetLimit, 100) NOTHING(cuCtxPopCurrent, 100) NOTHING(cuCtxPushCurrent, 100)
NOTHING(cuDeviceGet, 100) NOTHING(cuDeviceGetCount, 100) NOTHING(cuGetErrorName, 100) NOTHING(cuGetErrorString, 100)
NOTHING(cuLaunchCooperativeKernel, 100) NOTHING(cuLaunchKernel, 100) NOTHING(cuLaunchKernelEx, 100)
NOTHING(cuLibraryLoadFromFile, 100) NOTHING(cuLinkAddData, 100) NOTHING(cuLinkComplete, 100) NOTHING(cuLinkCreate, 100)
NOTHING(cuLinkDestroy, 100) NOTHING(cuModuleGetFunction, 100) NOTHING(cuModuleLoadData, 100) NOTHING(cuModuleUnload, 100)
NOTHING(cuOccupancyMaxPotentialClusterSize, 100) NOTHING(cuStreamGetCtx, 100) NOTHING(cuTensorMapEncodeIm2col, 100)
NOTHING(cuTensorMapEncodeTiled, 100)
";

/// An H200, by the names that cuDNN writes of it.
const H200: &str = r#"{"schemaVersion": "0.1", "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536, "multiProcessorCount": 132, "smCountOrigin": 0, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448, "oversizedSharedMemoryPerBlock": 0, "reservedSharedMemoryPerBlock": 1024,
    "maxRegistersPerSM": 65536, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
    "isTccDriver": 0, "supportCoopLaunch": 1, "totalGlobalMem": 150000000000, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
    "memoryBusWidth": 6144, "l2CacheSize": 62914560, "deviceName": "NVIDIA H200", "deviceVer": 900, "driverVer": 13000,
    "cudaDeviceId": 0, "deviceId": 0}"#;

/// Stands in for the driver where there is none: its name is taken by the library that is opened first.
fn open_driver() {
    // SAFETY: opens and closes a library that is installed for being opened.
    if unsafe { cuda_sys::is_culib_present() } {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, library) = (folder.path().join("driver.c"), folder.path().join("libcuda.so.1"));
    std::fs::write(&source, DRIVER).expect("the temporary folder can be written");
    let built = Command::new(compiler())
        .args(["-x", "c", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"])
        .args([&library, &source])
        .status()
        .expect("the compiler runs");
    assert!(built.success());
    // SAFETY: it was built above, and does nothing when it is opened.
    std::mem::forget(unsafe { libloading::Library::new(&library) }.expect("it can be opened"));
}

fn device(functions: &Arc<Functions>) -> Attempt<Descriptor> {
    const DESCRIPTION: Attribute<u8> = Attribute::new(2702, 24);
    let device = Descriptor::new(functions, 38)?;
    device.set(DESCRIPTION, format!("{H200}\0").as_bytes())?;
    device.finalize("the description of a GPU")?;
    Ok(device)
}

/// How many ways there are, and what the first of them works in.
fn plan(
    functions: &Arc<Functions>,
    device: &Descriptor,
    shape: &EvenShape,
    has_lse: bool,
) -> Attempt<(usize, i64)> {
    const WAYS_FOR: Attribute<Raw> = Attribute::new(204, 15);
    const PLAN_FOR: Attribute<Raw> = Attribute::new(407, 15);
    let graph = Graph::attention(functions, None, shape, has_lse)?;
    let ways = ways(functions, &graph, |heuristic| heuristic.set(WAYS_FOR, &[device.raw()]))?;
    let plan = Descriptor::new(functions, PLAN)?;
    plan.set(WAY, &[ways.first().ok_or("no way is known")?.raw()])?;
    plan.set(PLAN_FOR, &[device.raw()])?;
    plan.finalize("a plan")?;
    let mut bytes = [0];
    plan.get(WORKSPACE, &mut bytes)?;
    Ok((ways.len(), bytes[0]))
}

#[test]
#[ignore = "needs cuDNN 9.8 or later, and cuBLAS, in the Python environment"]
fn the_real_library_plans_attention() {
    open_driver();
    let folders = library_folders(|name| std::env::var_os(name));
    for name in [Name::CublasLt, Name::Cudnn] {
        eprintln!("{:?}", libraries::open(name, &folders, 13_000).expect("it can be used"));
    }
    let functions = libraries::with(Name::Cudnn, Functions::of).expect("it is open").expect("it is whole");
    let functions = Arc::new(functions);
    let device = device(&functions).expect("a GPU is described like this");
    for (sizes, causal, is_packed) in [
        ([13, 1024, 12, 12, 64], false, false),
        ([13, 1024, 12, 12, 64], false, true),
        ([8, 1013, 15, 5, 64], true, false),
        ([2, 7, 2, 1, 16], true, true),
        ([1, 1, 2, 2, 8], false, false),
    ] {
        let [sequences, length, heads, kv_heads, head_dim] = sizes;
        let widths = [heads, kv_heads, kv_heads].map(|heads: usize| heads * head_dim);
        let apart = if is_packed { [widths.iter().sum(); 3] } else { widths };
        let shape = EvenShape { sequences, length, heads, kv_heads, head_dim, causal, apart };
        for has_lse in [false, true] {
            let found = plan(&functions, &device, &shape, has_lse);
            eprintln!("{}, packed {is_packed}, log-sum-exps {has_lse}: {found:?}", name_of(&shape));
            found.expect("it has a plan");
        }
    }
}
