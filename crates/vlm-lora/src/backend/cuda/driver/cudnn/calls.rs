//! cuDNN's backend interface: its functions, and the descriptors that are made of attributes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use libloading::Library;

/// What a call gives, or why not, in words.
pub(super) type Attempt<T> = std::result::Result<T, String>;

/// The library's state for one device.
pub(super) type Handle = *mut c_void;
/// A descriptor as the library knows it.
pub(super) type Raw = *mut c_void;

/// The functions, as cuDNN's header declares them.
pub(super) struct Functions {
    version: unsafe extern "C" fn() -> usize,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    create: unsafe extern "C" fn(*mut Handle) -> c_int,
    destroy: unsafe extern "C" fn(Handle) -> c_int,
    set_stream: unsafe extern "C" fn(Handle, *mut c_void) -> c_int,
    create_descriptor: unsafe extern "C" fn(c_int, *mut Raw) -> c_int,
    destroy_descriptor: unsafe extern "C" fn(Raw) -> c_int,
    set_attribute: unsafe extern "C" fn(Raw, c_int, c_int, i64, *const c_void) -> c_int,
    get_attribute: unsafe extern "C" fn(Raw, c_int, c_int, i64, *mut i64, *mut c_void) -> c_int,
    finalize: unsafe extern "C" fn(Raw) -> c_int,
    execute: unsafe extern "C" fn(Handle, Raw, Raw) -> c_int,
}

/// A function of the library.
///
/// # Safety
/// It must be of this type, and the library stay open.
unsafe fn symbol<F: Copy>(library: &Library, name: &CStr) -> Attempt<F> {
    // SAFETY: the caller's.
    let found = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    found.map(|function| *function).map_err(|_| format!("it has no `{}`", name.to_string_lossy()))
}

impl Functions {
    /// Those of a library that stays open.
    pub(super) fn of(library: &Library) -> Attempt<Self> {
        // SAFETY: the types are those of cuDNN's header; the library is never closed.
        unsafe {
            Ok(Self {
                version: symbol(library, c"cudnnGetVersion")?,
                error_string: symbol(library, c"cudnnGetErrorString")?,
                create: symbol(library, c"cudnnCreate")?,
                destroy: symbol(library, c"cudnnDestroy")?,
                set_stream: symbol(library, c"cudnnSetStream")?,
                create_descriptor: symbol(library, c"cudnnBackendCreateDescriptor")?,
                destroy_descriptor: symbol(library, c"cudnnBackendDestroyDescriptor")?,
                set_attribute: symbol(library, c"cudnnBackendSetAttribute")?,
                get_attribute: symbol(library, c"cudnnBackendGetAttribute")?,
                finalize: symbol(library, c"cudnnBackendFinalize")?,
                execute: symbol(library, c"cudnnBackendExecute")?,
            })
        }
    }

    /// As in 92800, which is 9.28.0.
    pub(super) fn version(&self) -> usize {
        // SAFETY: takes nothing.
        unsafe { (self.version)() }
    }

    /// Succeeds where a call did.
    fn check(&self, what: &str, status: c_int) -> Attempt<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: takes any number, and returns a text that stays.
        let text = unsafe { (self.error_string)(status) };
        if text.is_null() {
            return Err(format!("{what}: status {status}"));
        }
        // SAFETY: a text of the library's, which ends with a zero.
        Err(format!("{what}: {}", unsafe { CStr::from_ptr(text) }.to_string_lossy()))
    }

    /// The library's state for the device whose context is current, which works in this queue.
    pub(super) fn open(&self, queue: *mut c_void) -> Attempt<Handle> {
        let mut handle: Handle = ptr::null_mut();
        // SAFETY: the place for the handle is valid.
        self.check("it does not start", unsafe { (self.create)(&raw mut handle) })?;
        // SAFETY: the handle is new, the queue is of the current context.
        let taken = self.check("it does not take the queue", unsafe { (self.set_stream)(handle, queue) });
        taken.inspect_err(|_| self.close(handle)).map(|()| handle)
    }

    /// Gives the state back, once nothing is queued any more.
    pub(super) fn close(&self, handle: Handle) {
        // SAFETY: opened above, and closed once. An error has nobody to go to.
        let _ = unsafe { (self.destroy)(handle) };
    }

    /// Queues what a plan does with these pointers.
    ///
    /// # Safety
    /// What the pointers name must be as large as the plan's tensors, and live until the queue has come to its end.
    pub(super) unsafe fn execute(&self, handle: Handle, plan: &Descriptor, with: &Descriptor) -> Attempt<()> {
        // SAFETY: handle and descriptors are alive, the rest is the caller's.
        let status = unsafe { (self.execute)(handle, plan.raw, with.raw) };
        self.check("it does not run", status)
    }
}

/// An attribute of a descriptor whose values are of type `T`.
pub(super) struct Attribute<T> {
    name: c_int,
    kind: c_int,
    values: PhantomData<T>,
}

impl<T> Attribute<T> {
    /// `T` must be what the library reads and writes for this type of attributes.
    pub(super) const fn new(name: c_int, kind: c_int) -> Self {
        Self { name, kind, values: PhantomData }
    }
}

/// A descriptor of the library's.
pub(super) struct Descriptor {
    functions: Arc<Functions>,
    raw: Raw,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created in `new`, and nobody uses it any more. An error has nobody to go to.
        let _ = unsafe { (self.functions.destroy_descriptor)(self.raw) };
    }
}

impl Descriptor {
    pub(super) fn new(functions: &Arc<Functions>, kind: c_int) -> Attempt<Self> {
        let mut raw: Raw = ptr::null_mut();
        // SAFETY: the place for the descriptor is valid.
        let status = unsafe { (functions.create_descriptor)(kind, &raw mut raw) };
        functions.check(&format!("descriptor {kind}"), status)?;
        Ok(Self { functions: Arc::clone(functions), raw })
    }

    /// What other descriptors take; it must outlive them.
    pub(super) fn raw(&self) -> Raw {
        self.raw
    }

    pub(super) fn set<T>(&self, Attribute { name, kind, .. }: Attribute<T>, values: &[T]) -> Attempt<()> {
        let (count, at) = (values.len() as i64, values.as_ptr().cast());
        // SAFETY: the descriptor is alive, and there are so many values of the attribute's type.
        let status = unsafe { (self.functions.set_attribute)(self.raw, name, kind, count, at) };
        self.functions.check(&format!("attribute {name}"), status)
    }

    /// How many values there are; those that there is room for are written.
    pub(super) fn get<T>(
        &self,
        Attribute { name, kind, .. }: Attribute<T>,
        values: &mut [T],
    ) -> Attempt<usize> {
        let (room, mut count) = (values.len() as i64, 0);
        let at = if values.is_empty() { ptr::null_mut() } else { values.as_mut_ptr().cast() };
        // SAFETY: the descriptor is alive, and there is room for so many values of the attribute's type.
        let status =
            unsafe { (self.functions.get_attribute)(self.raw, name, kind, room, &raw mut count, at) };
        self.functions.check(&format!("attribute {name}"), status)?;
        usize::try_from(count).map_err(|_| format!("attribute {name}: {count} values"))
    }

    pub(super) fn finalize(&self, what: &str) -> Attempt<()> {
        // SAFETY: the descriptor is alive.
        self.functions.check(what, unsafe { (self.functions.finalize)(self.raw) })
    }
}
