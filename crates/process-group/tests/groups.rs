//! The same promises of every transport, and what happens when a process is lost.

#![expect(clippy::unwrap_used, reason = "whatever cannot be unwrapped fails its test")]

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use process_group::{Error, ProcessGroup, TcpGroup, TcpOptions, threads};

type Boxed = Box<dyn ProcessGroup + Send>;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn options(rank: usize, size: usize, port: u16) -> TcpOptions {
    let (host, job) = ("127.0.0.1".to_owned(), "test".to_owned());
    TcpOptions { rank, size, host, port, job, patience: Duration::from_secs(30) }
}

/// A group of each kind, its members made in their own threads.
fn in_each<T: Send>(size: usize, work: impl Fn(Boxed) -> T + Sync) -> Vec<Vec<T>> {
    let port = free_port();
    let by_tcp = std::thread::scope(|scope| {
        let work = &work;
        let join = move |rank| move || work(Box::new(TcpGroup::join(&options(rank, size, port)).unwrap()));
        let members: Vec<_> = (0..size).map(|rank| scope.spawn(join(rank))).collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    });
    let by_threads = std::thread::scope(|scope| {
        let members = threads(size).into_iter().map(|group| scope.spawn(|| work(Box::new(group))));
        let members: Vec<_> = members.collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    });
    vec![by_tcp, by_threads]
}

/// Numbers whose sum depends on the order in which they are added.
fn numbers(rank: usize) -> Vec<f32> {
    (0..200_000)
        .map(|i| ((i * 7919 + rank * 104_729) % 1000) as f32 * 10_f32.powi((i % 9) as i32 - 4))
        .collect()
}

#[test]
fn sums_are_taken_in_the_order_of_the_ranks_by_every_transport() {
    for size in [1, 2, 3, 5] {
        let all: Vec<Vec<f32>> = (0..size).map(numbers).collect();
        let in_order = |i: usize| all[1..].iter().fold(all[0][i], |sum, other| sum + other[i]).to_bits();
        let expected: Vec<u32> = (0..all[0].len()).map(in_order).collect();
        let results = in_each(size, |group| {
            let mut values = numbers(group.rank());
            group.all_reduce_sum(&mut values).unwrap();
            let again = {
                let mut values = numbers(group.rank());
                group.all_reduce_sum(&mut values).unwrap();
                values
            };
            group.leave();
            assert!(values.iter().zip(&again).all(|(one, two)| one.to_bits() == two.to_bits()));
            values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        assert!(results.iter().flatten().all(|result| *result == expected), "{size} processes");
    }
}

#[test]
fn everybody_hears_what_everybody_says() {
    let told = in_each(3, |group| {
        let all = group.all_gather("x".repeat(group.rank()).as_bytes()).unwrap();
        let mut first = format!("from {}", group.rank()).into_bytes();
        group.broadcast(&mut first).unwrap();
        group.barrier().unwrap();
        group.leave();
        (all, first)
    });
    let expected = (vec![Vec::new(), b"x".to_vec(), b"xx".to_vec()], b"from 0".to_vec());
    assert!(told.iter().flatten().all(|told| *told == expected));
}

/// The others get the error while they wait, long before ten seconds, and the first loss is the one that all name.
#[test]
fn one_who_ends_without_a_word_is_missed_by_all() {
    for lost in [1, 0, 2] {
        let results = in_each(3, |group| {
            group.barrier().unwrap();
            if group.rank() == lost {
                return None; // dropped without leaving
            }
            let started = Instant::now();
            let error = group.all_reduce_sum(&mut [1.0; 1000]).unwrap_err();
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            assert_eq!(group.check(), Err(error.clone()));
            Some(error)
        });
        for error in results.into_iter().flatten().flatten() {
            assert!(matches!(&error, Error::Lost { rank, size: 3, .. } if *rank == lost), "{lost}: {error}");
        }
    }
}

#[test]
fn one_who_gives_up_says_why_to_all() {
    for gives_up in [0, 2] {
        let results = in_each(3, |group| {
            if group.rank() == gives_up {
                group.abort("the disk is full");
                return None;
            }
            let error = group.barrier().unwrap_err();
            Some(error)
        });
        for error in results.into_iter().flatten().flatten() {
            let (rank, size, reason) = (gives_up, 3, "the disk is full".to_owned());
            assert_eq!(error, Error::Aborted { rank, size, reason });
        }
    }
}

#[test]
fn one_who_leaves_is_not_missed() {
    in_each(3, |group| {
        group.barrier().unwrap();
        if group.rank() > 0 {
            group.leave();
            return;
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(group.check(), Ok(()));
        group.leave();
    });
}

#[test]
fn processes_at_different_points_are_told_so() {
    let results = in_each(2, |group| {
        let mut values = vec![1.0; 10 + group.rank()];
        let result = group.all_reduce_sum(&mut values);
        group.abort("out of step");
        result.is_err()
    });
    assert!(results.iter().flatten().all(|failed| *failed));
}

#[test]
fn who_does_not_belong_is_sent_away_and_who_does_not_come_is_named() {
    let port = free_port();
    std::thread::scope(|scope| {
        let first = scope.spawn(move || {
            let options = TcpOptions { patience: Duration::from_secs(2), ..options(0, 3, port) };
            TcpGroup::join(&options).err().unwrap().to_string()
        });
        let refused = |changed: TcpOptions| TcpGroup::join(&changed).err().unwrap().to_string();
        let other_job = refused(TcpOptions { job: "another".to_owned(), ..options(1, 3, port) });
        assert!(other_job.contains("another job"), "{other_job}");
        let other_size = refused(options(1, 2, port));
        assert!(other_size.contains("there are 3"), "{other_size}");
        // Something that speaks another language does not keep the others out.
        std::net::TcpStream::connect(("127.0.0.1", port))
            .unwrap()
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .unwrap();
        let missing = first.join().unwrap();
        assert!(missing.contains("of 3 processes") && missing.contains("1, 2"), "{missing}");
    });
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = options(0, 2, taken.local_addr().unwrap().port());
    let error = TcpGroup::join(&options).err().unwrap().to_string();
    assert!(error.contains("in use"), "{error}");
}
