//! A proxy before `moto_server` that fails as it is told.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a part of one test program, which fails by panicking"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_client::{Client, Options, Retry};
use registry::BucketOptions;
use test_server::hub::Fault;
use test_server::moto::Moto;
use test_server::{Answer, Request, Server};

pub const SECRET: &str = "bucket-secret-0123456789";

type Hook = Box<dyn FnMut(&Request) -> Fault + Send>;

/// A proxy before the service, one request at a time: the stand-in looks at a condition and obeys it in two steps.
pub struct Proxy {
    pub server: Server,
    hook: Arc<Mutex<Hook>>,
}

impl Proxy {
    pub fn before(moto: &Moto) -> Self {
        let hook: Arc<Mutex<Hook>> = Arc::new(Mutex::new(Box::new(|_: &Request| Fault::None)));
        let (shared, base, turn) = (Arc::clone(&hook), moto.base.clone(), Mutex::new(()));
        let client = Client::new(Options { retry: Retry::NONE, ..Options::default() }).unwrap();
        let server = Server::start(move |request| {
            let fault = (*shared.lock().unwrap_or_else(PoisonError::into_inner))(request);
            let pass = || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                forward(&client, &base, request)
            };
            match fault {
                Fault::None => pass(),
                Fault::Instead(answer) => answer,
                Fault::Afterwards(answer) => {
                    pass();
                    answer
                }
            }
        });
        Self { server, hook }
    }

    pub fn on_request(&self, hook: impl FnMut(&Request) -> Fault + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(hook);
    }

    pub fn heal(&self) {
        self.on_request(|_| Fault::None);
    }
}

fn forward(client: &Client, base: &str, request: &Request) -> Answer {
    let url = http_client::parse(&format!("{base}{}", request.path)).unwrap();
    let method = request.method.parse().unwrap();
    let mut passed = http_client::Request::new(method, url).redirects(0).body(request.body.clone());
    for (name, value) in &request.headers {
        if !["host", "content-length", "connection", "accept-encoding"]
            .contains(&name.to_lowercase().as_str())
        {
            passed = passed.header(name, value).unwrap();
        }
    }
    let answer = client.send(&passed).unwrap();
    let headers = ["ETag", "Last-Modified", "Content-Type"];
    let kept = headers.into_iter().filter_map(|name| Some((name, answer.header(name)?.to_owned()))).collect();
    Answer::Status(answer.status, kept, answer.body)
}

pub fn options(base: &str, bucket: &str, cancel: Option<http_client::Cancel>) -> BucketOptions {
    let retry = Retry { attempts: 4, base: Duration::from_millis(5), ..Retry::default() };
    BucketOptions {
        url: format!("s3://{bucket}/slides/rater"),
        endpoint: Some(base.to_owned()),
        region: None,
        access_key_id: "key".to_owned(),
        secret_access_key: SECRET.to_owned(),
        session_token: None,
        http: Options { retry, cancel, ..Options::default() },
    }
}
