//! Processes that compute one thing together.
//!
//! A [`ProcessGroup`] is what a program sees of the others: which of how many it is, sums of numbers over all of them in a fixed
//! order, and what each of them says. Behind it stand connections to the first process ([`TcpGroup`]), MPI (`MpiGroup`, with the
//! feature `mpi`) or, for tests, the threads of one process ([`threads`]).
//!
//! - The same processes with the same numbers get the same bits: sums are taken in the order of the ranks, and all get one result.
//! - Nobody waits for one who is not there any more: a process that ends without a word, or whose machine falls silent, is missed within
//!   ten seconds, whatever the transport, and every call that waits returns an [`Error`] that names it.
//!
//! The library prints nothing, reads no environment variable and ends no process.
//!
//! ```
//! use process_group::{ProcessGroup, threads};
//!
//! std::thread::scope(|scope| {
//!     for group in threads(3) {
//!         scope.spawn(move || {
//!             let mut gradient = [1.0, group.rank() as f32];
//!             group.all_reduce_sum(&mut gradient).unwrap();
//!             assert_eq!(gradient, [3.0, 3.0]);
//!             group.leave();
//!         });
//!     }
//! });
//! ```
#![forbid(unsafe_code)]

mod deal;
mod error;
mod group;
mod lifeline;
mod machine;
#[cfg(feature = "mpi")]
mod mpi;
mod tcp;
mod thread_group;
mod watch;
mod wire;

pub use deal::{Deal, merge};
pub use error::{Error, Result};
pub use group::ProcessGroup;
pub use machine::Machine;
#[cfg(feature = "mpi")]
pub use mpi::MpiGroup;
pub use tcp::{TcpGroup, TcpOptions};
pub use thread_group::{ThreadGroup, threads};
pub use watch::Watch;
