//! Gradients of several processes, added up where they are.

use process_group::{ProcessGroup, TcpGroup, TcpOptions, threads};
use std::time::Duration;

use super::emulated;
use crate::backend::cuda::device::{CudaDtype, Device};
use crate::backend::cuda::{Cuda, CudaOptions};
use crate::backend::{Backend as _, Kernels as _};
use crate::{Error, Result};

/// Lengths of buffers, one of them empty.
const LENGTHS: [usize; 4] = [1_000, 0, 7, 4_099];

/// Numbers whose sum depends on the order in which they are added.
fn numbers(rank: usize, length: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 7919 + rank * 104_729) % 1000) as f32 * 10_f32.powi((i % 9) as i32 - 4);
    (0..length).map(number).collect()
}

/// Adds up the numbers of all processes twice, and compares every bit with the sum in the order of the ranks.
fn check<D: Device>(cuda: &Cuda<D>, group: &dyn ProcessGroup) -> Result<()> {
    for _ in 0..2 {
        let upload = |length: &usize| cuda.upload(&numbers(group.rank(), *length));
        let mut buffers = LENGTHS.iter().map(upload).collect::<Result<Vec<_>>>()?;
        cuda.all_reduce(buffers.iter_mut().collect(), group)?;
        for (buffer, length) in buffers.iter().zip(LENGTHS) {
            let all: Vec<Vec<f32>> = (0..group.size()).map(|rank| numbers(rank, length)).collect();
            let in_order = |i: usize| all[1..].iter().fold(all[0][i], |sum, other| sum + other[i]).to_bits();
            let found: Vec<u32> = cuda.download(buffer)?.iter().map(|value| value.to_bits()).collect();
            assert_eq!(found, (0..length).map(in_order).collect::<Vec<_>>());
        }
    }
    Ok(())
}

#[test]
fn devices_add_up_in_the_order_of_the_ranks() {
    std::thread::scope(|scope| {
        for group in threads(3) {
            scope.spawn(move || {
                check(&emulated(CudaDtype::Float32, false, false), &group).unwrap();
                group.leave();
            });
        }
    });
}

/// The group that the environment of a [fake](super::fake)'s case names.
pub(super) fn group() -> TcpGroup {
    let number =
        |name: &str| std::env::var(name).expect("a case is told its place").parse().expect("a number");
    let (host, job) = ("127.0.0.1".to_owned(), "fakes".to_owned());
    let (rank, size) = (number("CASE_RANK") as usize, number("CASE_SIZE") as usize);
    let port = number("CASE_PORT");
    TcpGroup::join(&TcpOptions { rank, size, host, port, job, patience: Duration::from_mins(1) })
        .expect("the others are started")
}

fn open() -> Result<Cuda> {
    Cuda::open(&CudaOptions::default())
}

/// What the processes are told of the way, and that sums are right whatever it is.
fn goes_by(way: &str) -> Result<()> {
    let (cuda, group) = (open()?, group());
    let told = cuda.way_of_sums(&group)?;
    assert!(told.contains(way), "{told}");
    check(&cuda, &group)?;
    group.leave();
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn gpus_of_several_processes_add_up_by_nccl() -> Result<()> {
    goes_by("on the GPUs, which NCCL connects")
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn without_nccl_sums_go_over_the_hosts() -> Result<()> {
    goes_by("in the hosts' memory, over TCP (process 1 of 3 has no libnccl.so.2")
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn an_nccl_that_is_too_old_is_named() -> Result<()> {
    goes_by("over TCP (process 1 of 3 has NCCL 2.3, and 2.4 or later is needed)")
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn processes_with_one_gpu_go_over_the_hosts() -> Result<()> {
    goes_by("over TCP (process 1 of 3 has the same GPU as process 0)")
}

/// A process ends without a word while the others wait for it within NCCL.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn one_that_is_lost_ends_the_wait() -> Result<()> {
    let (cuda, group) = (open()?, group());
    cuda.way_of_sums(&group)?;
    if group.rank() == 1 {
        return Ok(()); // the group is dropped
    }
    let parts = cuda.device().allocate(4 * 8 * group.size())?;
    let error = cuda.device().all_gather((parts, 8), &group).unwrap_err();
    assert!(matches!(error, Error::Group(process_group::Error::Lost { rank: 1, .. })), "{error}");
    let again = cuda.device().all_gather((parts, 8), &group).unwrap_err().to_string();
    assert!(again.contains("it has given up already"), "{again}");
    cuda.device().free(parts);
    group.leave();
    Ok(())
}
