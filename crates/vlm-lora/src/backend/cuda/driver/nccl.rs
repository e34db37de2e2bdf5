//! What the devices of several processes hold, gathered in all of them by NCCL, which is opened at run time as the other libraries are.
//!
//! Its own sum is not asked for: in which order it adds depends on how the devices are connected.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream};
use libloading::Library;
use process_group::ProcessGroup;

use super::super::check::fail;
use super::{Driver, failed};
use crate::Result;
use crate::backend::cuda::device::Address;

/// Under which names it is looked for.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// The first version that can give up while others are waited for.
const OLDEST: (c_int, c_int) = (2, 4);
/// Between two looks at whether everything is there, and whether all processes are.
const LOOK: Duration = Duration::from_micros(50);

/// Results of NCCL.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;
/// Its number for f32.
const FLOAT32: c_int = 7;

/// What the first process makes and all join by; it is passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId {
    internal: [u8; 128],
}

type Comm = *mut c_void;

/// The functions that are used, as NCCL's header declares them.
struct Functions {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    init_rank: unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> c_int,
    all_gather: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Comm, *mut c_void) -> c_int,
    async_error: unsafe extern "C" fn(Comm, *mut c_int) -> c_int,
    abort: unsafe extern "C" fn(Comm) -> c_int,
    destroy: unsafe extern "C" fn(Comm) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Functions {
    /// Opens the library; else why it cannot be used, as the end of a sentence about this process.
    fn open(folders: &[PathBuf]) -> std::result::Result<Self, String> {
        let paths = folders.iter().map(|folder| folder.join(NAMES[0])).filter(|path| path.is_file());
        let mut names = NAMES.iter().map(PathBuf::from).chain(paths);
        // SAFETY: opens a library that is installed for being opened.
        let library = names.find_map(|name| unsafe { Library::new(name) }.ok()).ok_or_else(|| {
            format!("has no {} (it comes with PyTorch's wheels, or `pip install nvidia-nccl-cu13`)", NAMES[0])
        })?;
        let version = version_of(&library)?;
        if version < OLDEST {
            let ((major, minor), (oldest, since)) = (version, OLDEST);
            return Err(format!("has NCCL {major}.{minor}, and {oldest}.{since} or later is needed"));
        }
        // SAFETY: the types are those of NCCL's header; the library is never closed, as its threads may outlive every use of it.
        let functions = unsafe {
            Self {
                get_unique_id: symbol(&library, c"ncclGetUniqueId")?,
                init_rank: symbol(&library, c"ncclCommInitRank")?,
                all_gather: symbol(&library, c"ncclAllGather")?,
                async_error: symbol(&library, c"ncclCommGetAsyncError")?,
                abort: symbol(&library, c"ncclCommAbort")?,
                destroy: symbol(&library, c"ncclCommDestroy")?,
                error_string: symbol(&library, c"ncclGetErrorString")?,
            }
        };
        std::mem::forget(library);
        Ok(functions)
    }

    /// Succeeds where a call did.
    fn check(&self, what: &str, result: c_int) -> Result<()> {
        if result == SUCCESS {
            return Ok(());
        }
        // SAFETY: takes any number, and returns a text that stays.
        let text = unsafe { (self.error_string)(result) };
        let text = if text.is_null() {
            format!("NCCL's error {result}").into()
        } else {
            // SAFETY: a text of NCCL's, which ends with a zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy()
        };
        Err(failed(what, text))
    }
}

/// A function of the library.
///
/// # Safety
/// It must be of this type.
unsafe fn symbol<F: Copy>(library: &Library, name: &CStr) -> std::result::Result<F, String> {
    // SAFETY: the caller's.
    let found = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    found.map(|function| *function).map_err(|_| format!("has an NCCL without {}", name.to_string_lossy()))
}

fn version_of(library: &Library) -> std::result::Result<(c_int, c_int), String> {
    let mut code = 0;
    // SAFETY: the type is that of NCCL's header.
    let get = unsafe { symbol::<unsafe extern "C" fn(*mut c_int) -> c_int>(library, c"ncclGetVersion") }?;
    // SAFETY: the place for the number is valid.
    match unsafe { get(&raw mut code) } {
        SUCCESS => Ok(version(code)),
        other => Err(format!("has an NCCL that does not say its version (error {other})")),
    }
}

/// Major and minor version; the way in which they are one number changed with 2.9.
fn version(code: c_int) -> (c_int, c_int) {
    let unit = if code < 10_000 { 1_000 } else { 10_000 };
    (code / unit, code % unit / 100)
}

/// What each process says of its device: a name that no other device has, or why it has no NCCL.
fn told(opened: std::result::Result<[u8; 16], &str>) -> Vec<u8> {
    match opened {
        Ok(device) => [&[1], &device[..]].concat(),
        Err(why) => [&[0], why.as_bytes()].concat(),
    }
}

/// Why the processes that said this cannot use NCCL.
fn obstacle(all: &[Vec<u8>]) -> Option<String> {
    let size = all.len();
    let missing = all.iter().enumerate().find_map(|(rank, told)| {
        let (is_there, why) = told.split_first()?;
        (*is_there == 0).then(|| format!("process {rank} of {size} {}", String::from_utf8_lossy(why)))
    });
    missing.or_else(|| {
        let earlier = |rank: usize| all[..rank].iter().position(|other| *other == all[rank]);
        let (rank, other) = (0..size).find_map(|rank| Some((rank, earlier(rank)?)))?;
        Some(format!("process {rank} of {size} has the same GPU as process {other}"))
    })
}

/// The part of this process in a communicator.
pub(super) struct Nccl {
    functions: Functions,
    /// Null once it is closed.
    comm: Comm,
}

// SAFETY: a communicator may be used by any thread, one at a time, while the context is current in it; it is behind a lock.
unsafe impl Send for Nccl {}

impl Nccl {
    /// Joins the other processes, each of which calls this; in all of them the same reason where one has no NCCL, or two have one device.
    pub(super) fn join(
        context: &CudaContext,
        folders: &[PathBuf],
        group: &dyn ProcessGroup,
    ) -> Result<std::result::Result<Self, String>> {
        let functions = Functions::open(folders);
        let device = context.uuid().map_err(|error| failed("the device has no name of its own", error))?;
        let device = device.bytes.map(|byte| byte as u8);
        let mine = told(functions.as_ref().map(|_| device).map_err(String::as_str));
        let obstacle = obstacle(&group.all_gather(&mine)?);
        match (functions, obstacle) {
            (Ok(functions), None) => Self::init(functions, group).map(Ok),
            (Err(why), None) | (_, Some(why)) => Ok(Err(why)),
        }
    }

    /// One that fails here ends the run: the others wait within NCCL, and cannot be asked to go another way.
    fn init(functions: Functions, group: &dyn ProcessGroup) -> Result<Self> {
        let mut id = UniqueId { internal: [0; 128] };
        if group.rank() == 0 {
            // SAFETY: the place for the name is valid.
            functions.check("NCCL makes no name for the group", unsafe {
                (functions.get_unique_id)(&raw mut id)
            })?;
        }
        let mut bytes = id.internal.to_vec();
        group.broadcast(&mut bytes)?;
        id.internal = bytes
            .try_into()
            .map_err(|_| failed("NCCL does not join the processes", "a name of another length"))?;
        let mut comm: Comm = ptr::null_mut();
        let (size, rank) = (group.size() as c_int, group.rank() as c_int);
        // SAFETY: the place for the communicator is valid, and the context of this process's device is current.
        let result = unsafe { (functions.init_rank)(&raw mut comm, size, id, rank) };
        functions.check("NCCL does not join the processes", result)?;
        Ok(Self { functions, comm })
    }

    /// Fills a block of as many parts as there are processes, of which this one's is there, and waits for it as long as all processes are
    /// there: who waits in the queue for one that is gone waits for ever.
    pub(super) fn all_gather(
        &mut self,
        stream: &CudaStream,
        (parts, count): (Address, usize),
        group: &dyn ProcessGroup,
    ) -> Result<()> {
        if self.comm.is_null() {
            return Err(failed("NCCL", "it has given up already"));
        }
        let own = parts + (4 * count * group.rank()) as u64;
        // SAFETY: the block holds `count` f32 of each process, those of this one where NCCL expects them of who gathers in place, and
        // nothing else reads or writes it before the queue has come to its end.
        let result = unsafe {
            let (own, parts, queue) = (own as *const c_void, parts as *mut c_void, stream.cu_stream().cast());
            (self.functions.all_gather)(own, parts, count, FLOAT32, self.comm, queue)
        };
        self.functions.check("the gradients of the processes cannot be gathered", result)?;
        let done = stream.record_event(None).map_err(|error| failed("a mark in the queue", error))?;
        self.wait(&done, group).inspect_err(|_| self.abort())
    }

    fn wait(&mut self, done: &CudaEvent, group: &dyn ProcessGroup) -> Result<()> {
        while !done.try_is_complete().map_err(|error| failed("a mark in the queue", error))? {
            group.check()?;
            let mut state = SUCCESS;
            // SAFETY: the communicator is open, and the place for the number valid.
            let result = unsafe { (self.functions.async_error)(self.comm, &raw mut state) };
            self.functions.check("NCCL does not say how it goes", result)?;
            if state != IN_PROGRESS {
                self.functions.check("the gradients of the processes cannot be gathered", state)?;
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends what is queued, although others may wait for it.
    fn abort(&mut self) {
        if !self.comm.is_null() {
            // SAFETY: the communicator is open, and not used after this. An error has nobody to go to.
            unsafe { (self.functions.abort)(self.comm) };
            self.comm = ptr::null_mut();
        }
    }

    /// Closes it, once nothing is queued.
    pub(super) fn close(&mut self) {
        if !self.comm.is_null() {
            // SAFETY: as above.
            unsafe { (self.functions.destroy)(self.comm) };
            self.comm = ptr::null_mut();
        }
    }
}

impl Driver {
    /// As [`Device::join`](super::super::device::Device::join).
    pub(super) fn join_by_nccl(&self, group: &dyn ProcessGroup) -> Result<std::result::Result<(), String>> {
        self.bind()?;
        let mut joined = self.nccl();
        let joined = match &*joined {
            Some(joined) => joined,
            None => joined.insert(Nccl::join(&self.context, &self.options.library_folders, group)?),
        };
        Ok(joined.as_ref().map(|_| ()).map_err(String::clone))
    }

    /// As [`Device::all_gather`](super::super::device::Device::all_gather).
    pub(super) fn all_gather_by_nccl(&self, parts: (Address, usize), group: &dyn ProcessGroup) -> Result<()> {
        self.bind()?;
        match &mut *self.nccl() {
            Some(Ok(nccl)) => nccl.all_gather(&self.stream, parts, group),
            _ => Err(fail("the devices were not joined")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_were_written_at_their_time() {
        assert_eq!(
            [2_304, 2_408, 2_708, 20_905, 22_203].map(version),
            [(2, 3), (2, 4), (2, 7), (2, 9), (2, 22)]
        );
        assert!(version(2_304) < OLDEST && version(2_408) >= OLDEST);
    }

    #[test]
    fn one_process_without_nccl_or_a_gpu_of_its_own_is_named() {
        let device = |number: u8| told(Ok([number; 16]));
        assert_eq!(obstacle(&[device(0), device(1)]), None);
        let two = obstacle(&[device(0), device(1), device(0)]).unwrap();
        assert_eq!(two, "process 2 of 3 has the same GPU as process 0");
        let none = obstacle(&[device(0), told(Err("has no libnccl.so.2"))]).unwrap();
        assert_eq!(none, "process 1 of 2 has no libnccl.so.2");
    }
}
