//! `moto_server`, a program that stands in for a service that speaks S3.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// By this header the program tells that a service is asked as S3 is; it checks no more of it.
pub const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request";

/// The program, which ends with the test.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    port: u16,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
}

impl Moto {
    /// Starts it, and waits until it answers.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let moto = Self { process: command.spawn().unwrap(), port, base: format!("http://127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_mins(1);
        while moto.ask("GET", "/moto-api/").is_err() {
            assert!(Instant::now() < until, "moto_server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// Makes a bucket, which is empty.
    pub fn bucket(&self, name: &str) {
        let answer = self.ask("PUT", &format!("/{name}")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn ask(&self, method: &str, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
