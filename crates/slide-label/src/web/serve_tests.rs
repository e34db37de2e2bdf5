//! Clients that are slow, silent or many, against a real socket. They block; the server has threads of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Client;
use std::time::Instant;

use super::*;
use crate::web::Access;
use crate::web::tests::Site;

struct Running {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
    _site: Site,
}

const SHORT: Duration = Duration::from_millis(400);

fn limits() -> Limits {
    Limits { connections: 12, connections_of_address: 8, head: SHORT, body: SHORT, idle: SHORT }
}

fn running(limits: Limits) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let site = Site::new(Access::Local);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let state = site.state.clone();
    let task =
        runtime.spawn(async move { serve(listener, state, limits, async { drop(stopped.await) }).await });
    Running { address, stop: Some(stop), task: Some(task), runtime, _site: site }
}

impl Running {
    fn connect(&self) -> Client {
        let client = Client::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    fn get(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address)
    }

    /// Sends this and says when the server closed the connection, and what it had sent.
    fn until_closed(&self, text: &str) -> (Duration, String) {
        let mut client = self.connect();
        let start = Instant::now();
        client.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = client.read_to_end(&mut answer) {
            assert!(error.kind() != std::io::ErrorKind::WouldBlock, "the connection stays open");
        }
        (start.elapsed(), String::from_utf8_lossy(&answer).into_owned())
    }

    fn is_well(&self) {
        let mut client = self.connect();
        client.write_all(self.get("/healthz").as_bytes()).unwrap();
        let mut answer = [0; 64];
        let length = client.read(&mut answer).expect("the server answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    }

    fn end(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let task = self.task.take().unwrap();
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), task).await });
        ended.expect("it stops").unwrap();
    }
}

#[test]
fn half_a_head_half_a_body_and_silence_are_left_soon() {
    let server = running(limits());
    let post = format!(
        "POST /api/session HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"na",
        server.address
    );
    let whole = server.get("/healthz");
    for (what, text, said) in [
        ("nothing", "", ""),
        ("half a head", "GET / HTTP/1.1\r\nhost: x", ""),
        ("half a body", &*post, "HTTP/1.1 408"),
        ("a whole request, then nothing", &*whole, "HTTP/1.1 200"),
    ] {
        let (time, answer) = server.until_closed(text);
        assert!(time >= SHORT / 2 && time < SHORT * 20, "{what}: {time:?} {answer}");
        assert!(answer.starts_with(said), "{what}: {answer}");
    }
    server.is_well();
    server.end();
}

#[test]
fn a_head_that_comes_by_the_byte_is_not_waited_for() {
    let server = running(limits());
    let mut client = server.connect();
    let start = Instant::now();
    let mut is_left = false;
    // A byte every 50 ms would take a minute.
    for byte in server.get(&format!("/{}", "x".repeat(1200))).bytes() {
        is_left = client.write_all(&[byte]).is_err();
        if is_left {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(start.elapsed() < SHORT * 30, "still waiting");
    }
    assert!(is_left, "it was served after all");
    server.is_well();
    server.end();
}

#[test]
fn one_address_cannot_take_every_connection() {
    let server = running(Limits { head: SHORT * 5, ..limits() });
    let held: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut ninth = server.connect();
    let start = Instant::now();
    let closed = ninth.read(&mut [0]);
    assert!(matches!(&closed, Ok(0)) || closed.is_err(), "{closed:?}");
    assert!(start.elapsed() < SHORT * 3, "closed at once, not when its time is over");
    // Those that say nothing are left; then there is room again.
    std::thread::sleep(SHORT * 8);
    server.is_well();
    drop(held);
    server.end();
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served() {
    let server = running(Limits { connections: 4, connections_of_address: 100, ..limits() });
    let held: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    server.is_well();
    drop(held);
    server.end();
}

#[test]
fn a_reader_that_stops_reading_is_left() {
    let server = running(limits());
    // More answers are asked for than the system keeps for a reader.
    let mut client = server.connect();
    client.set_write_timeout(Some(SHORT * 4)).unwrap();
    let one = server.get("/assets/app.js");
    let asked = (0..5000).take_while(|_| client.write_all(one.as_bytes()).is_ok()).count();
    std::thread::sleep(SHORT * 6);
    let mut rest = Vec::new();
    let read = client.read_to_end(&mut rest);
    let whole = asked * include_str!("../assets/app.js").len();
    assert!(read.is_err() || rest.len() < whole, "it was served to the end: {asked} times");
    server.is_well();
    server.end();
}
