//! Files that survive crashes and several writers.
//!
//! - [`write_atomic`], [`write_atomic_with`], [`write_json`]: a reader meets the old content or the whole new one.
//! - [`write_new`]: of several who write a file that is not there yet, one does.
//! - [`append_lines`]: an append-only log of JSON lines that several processes may write at once; what was acknowledged is on
//!   disk, and a line that a crash cut off is moved aside before the next one is written. [`append_after`] makes a line from the
//!   one before it.
//! - [`GroupLog`]: the same for many threads: one write and one sync for all lines that wait.
//! - [`for_each_line`]: the whole lines of a log, streamed; a line that is being written is never seen in part.
//! - [`remove_lines`]: some lines leave a log, the others keep their bytes.
//! - [`FileLock`]: an advisory lock beside a file.
//! - [`FileHash`], [`hash_file`], [`sha256_hex`].
//!
//! The crate knows nothing of what the files hold.
#![forbid(unsafe_code)]

mod atomic;
mod error;
mod group;
mod hash;
mod lock;
mod log;
mod removal;

pub use atomic::{
    sync_dir, write_atomic, write_atomic_with, write_json, write_json_private, write_new, write_private,
};
pub use error::{Error, Result, io_error};
pub use group::GroupLog;
pub use hash::{FileHash, from_hex, hash_bytes, hash_file, hex, sha256_hex};
pub use lock::FileLock;
pub use log::{Tail, append_after, append_json_lines, append_lines, for_each_line, replace_lines, set_aside};
pub use removal::{count_lines, remove_lines};
