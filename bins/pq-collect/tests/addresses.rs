//! Addresses of pages that show a deck: the file behind them is collected.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use slide_data::{Manifest, SourceKind};
use test_server::{Answer, Server};

use common::{Place, support};

/// A proxy that leads every host to this server. Returns its address.
fn proxy(server: &Server) -> String {
    let target = server.base.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let target = target.clone();
            std::thread::spawn(move || lead(stream, &target));
        }
    });
    address
}

/// Answers `CONNECT` and hands everything after it on in both directions.
fn lead(stream: TcpStream, target: &str) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    while from.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let mut to = TcpStream::connect(target).ok()?;
    let mut back = to.try_clone().ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    std::thread::spawn(move || std::io::copy(&mut back, &mut stream));
    std::io::copy(&mut from, &mut to).ok()?;
    to.shutdown(std::net::Shutdown::Write).ok()
}

#[test]
fn a_google_slides_address_is_fetched_as_its_pdf() {
    let deck = support::deck(400, 2);
    let server = Server::start(move |request| match request.path.as_str() {
        "/presentation/d/1AbC-d_9/export/pdf" => Answer::Status(200, vec![], deck.clone()),
        "/presentation/d/closed/export/pdf" => {
            Answer::Status(200, vec![], b"<html>Sign in to continue to Slides</html>".to_vec())
        }
        _ => Answer::Status(404, vec![], Vec::new()),
    });
    let place = Place::new();
    let collect = |address: &str| -> serde_json::Value {
        let mut command = place.command(&[address, "--json", "--set", "sources.urls.pause_s=0.0"]);
        let output = command.env("ALL_PROXY", proxy(&server)).env_remove("NO_PROXY").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let address = "http://docs.google.com/presentation/d/1AbC-d_9/edit?usp=sharing#slide=id.p1";
    let report = collect(address);
    assert_eq!((&report["slides_new"], &report["seen"]), (&2.into(), &1.into()), "{report:#}");
    let slides = Manifest::read(&place.raw()).unwrap().slides;
    assert!(
        slides.iter().all(|slide| slide.source.origin == address && slide.source.kind == SourceKind::Web)
    );
    // One that is not shared gives a page to sign in, and the line says what to do.
    let report = collect("http://docs.google.com/presentation/d/closed/edit");
    assert_eq!((&report["seen"], &report["refused"]), (&1.into(), &1.into()), "{report:#}");
    let reason = report["set_aside"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("with the link") && reason.contains("download it as PDF"), "{reason}");
    assert!(server.requests().iter().all(|request| !request.path.contains("/edit")));
}
