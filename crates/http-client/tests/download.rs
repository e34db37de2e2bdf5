//! Downloads that break off, in one process and over several.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_client::{Client, Error, Options, Request, Retry, parse};
use test_server::{Answer, Server, ranged, text};

fn client() -> Client {
    let retry = Retry { attempts: 3, base: Duration::from_millis(10), ..Retry::default() };
    Client::new(Options { retry, ..Options::default() }).unwrap()
}

fn content() -> Vec<u8> {
    (0..500_000u32).map(|n| (n * 7 % 253) as u8).collect()
}

fn get(server: &Server) -> Request {
    Request::get(parse(&format!("{}/file?signature=secret", server.base)).unwrap())
}

#[test]
fn a_cut_body_is_taken_up_where_it_ended_as_often_as_it_goes_on() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        match ranged(request, vec![], &content()) {
            Answer::Status(status, headers, body) if number < 10 => {
                let sent = body[..body.len().min(40_000)].to_vec();
                Answer::Cut { status, headers, announced: body.len(), body: sent }
            }
            whole => whole,
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part");
    let size = content().len() as u64;
    assert_eq!(client().download(&get(&server), &path, Some(size)).unwrap(), size);
    assert_eq!(std::fs::read(&path).unwrap(), content());
    let ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 11, "three attempts without progress would end it, eleven with progress do not");
    assert_eq!(ranges[1].as_deref(), Some("bytes=40000-"));
    assert_eq!(client().download(&get(&server), &path, Some(size)).unwrap(), size);
    assert_eq!(server.requests().len(), 11, "a file that is whole is not asked for");
}

#[test]
fn what_an_earlier_process_left_is_the_beginning() {
    let server = Server::start(|request| ranged(request, vec![], &content()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part");
    for size in [Some(content().len() as u64), None] {
        std::fs::write(&path, &content()[..123_456]).unwrap();
        client().download(&get(&server), &path, size).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content());
    }
    assert!(server.requests().iter().all(|request| request.header("range") == Some("bytes=123456-")));
}

#[test]
fn a_server_without_ranges_and_one_that_answers_another_range_are_begun_anew() {
    let plain = Server::start(|_| Answer::Status(200, vec![], content()));
    let odd = Server::start(|request| match request.header("range") {
        Some(_) => Answer::Status(206, vec![("Content-Range", "bytes 5-9/10".to_owned())], b"56789".to_vec()),
        None => Answer::Status(200, vec![], content()),
    });
    let dir = tempfile::tempdir().unwrap();
    for (name, server) in [("plain", plain), ("odd", odd)] {
        let path = dir.path().join(name);
        std::fs::write(&path, b"something else").unwrap();
        client().download(&get(&server), &path, Some(content().len() as u64)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content());
    }
}

#[test]
fn a_refusal_or_an_endless_body_leaves_the_part_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part");
    std::fs::write(&path, b"begun").unwrap();
    let refusing = Server::start(|_| text(403, "<Error>expired</Error>"));
    let error = client().download(&get(&refusing), &path, Some(100)).unwrap_err();
    assert!(error.status() == Some(403) && !error.to_string().contains("secret"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"begun");
    let longer = Server::start(|_| text(200, "much longer than announced"));
    let error = client().download(&get(&longer), &path, Some(8)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 8, .. }), "{error}");
    assert!(std::fs::metadata(&path).unwrap().len() <= 8);
}
