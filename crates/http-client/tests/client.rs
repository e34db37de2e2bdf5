//! The client against a local server that has bad days.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http_client::{
    Body, Client, Credential, Error, Method, Notice, Options, Request, Retry, Timeouts, parse,
};
use project_files::with_causes;
use test_server::{Answer, Authority, Server, json, redirect, text};

fn retry() -> Retry {
    Retry {
        attempts: 4,
        base: Duration::from_millis(20),
        budget: Duration::from_secs(20),
        ..Retry::default()
    }
}

fn client() -> Client {
    Client::new(Options { retry: retry(), ..Options::default() }).unwrap()
}

fn get(server: &Server, path: &str) -> Request {
    Request::get(parse(&format!("{}{path}", server.base)).unwrap())
}

/// Two servers, the second on a port that begins with the digits of the first one's, as 1870 and 18700.
fn neighbours(
    first: impl Fn(&test_server::Request, &str) -> Answer + Send + Sync + 'static,
) -> (Server, Server) {
    let other_base = Arc::new(Mutex::new(String::new()));
    let (first, shared) = (Arc::new(first), Arc::clone(&other_base));
    for port in 1870..6500 {
        let (handler, shared) = (Arc::clone(&first), Arc::clone(&shared));
        let one = Server::start_at(port, move |request| handler(request, &shared.lock().unwrap()));
        let Ok(one) = one else { continue };
        let other =
            (0..10).find_map(|digit| Server::start_at(port * 10 + digit, |_| text(200, "other")).ok());
        let Some(other) = other else { continue };
        other_base.lock().unwrap().clone_from(&other.base);
        assert!(other.base.starts_with(&one.base));
        return (one, other);
    }
    unreachable!("no pair of free ports");
}

#[test]
fn a_token_goes_to_its_own_origin_only_also_over_redirects() {
    let (server, other) = neighbours(|request, other| match request.plain_path() {
        "/away" => redirect(302, format!("{other}/stolen?X-Signature=s")),
        "/home" => redirect(307, "/end"),
        "/name" => redirect(302, format!("{}/end", other.replace("127.0.0.1", "localhost"))),
        _ => text(200, "here"),
    });
    let credential = Credential::bearer(&parse(&server.base).unwrap(), "hf_secret").unwrap();
    for path in ["/away", "/home", "/name"] {
        let response = client().send(&get(&server, path).credential(Some(&credential))).unwrap();
        assert_eq!(response.status, 200);
    }
    let direct = Request::get(parse(&format!("{}/direct", other.base)).unwrap());
    client().send(&direct.credential(Some(&credential))).unwrap();
    assert_eq!(other.requests().len(), 3);
    for request in other.requests() {
        assert_eq!(request.header("authorization"), None, "{}", request.path);
    }
    for request in server.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{}", request.path);
    }
}

#[test]
fn headers_that_prove_who_asks_stay_at_their_origin_too() {
    let (server, other) = neighbours(|_, other| redirect(302, format!("{other}/x")));
    let request =
        get(&server, "/").header("Authorization", "Basic abc").unwrap().header("Accept", "a/b").unwrap();
    client().send(&request).unwrap();
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic abc"));
    assert_eq!(other.requests()[0].header("authorization"), None);
    assert_eq!(other.requests()[0].header("accept"), Some("a/b"));
}

#[test]
fn both_forms_of_retry_after_are_kept() {
    for (form, least) in [("1", 1.0), ("a date", 0.9), ("0.3", 0.3)] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let form = if form == "a date" { in_seconds(2) } else { form.to_owned() };
                Answer::Status(429, vec![("Retry-After", form)], Vec::new())
            }
            _ => text(200, "in"),
        });
        let begun = Instant::now();
        assert_eq!(client().send(&get(&server, "/")).unwrap().body, b"in");
        assert!((least..6.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    }
}

fn in_seconds(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

#[test]
fn a_wait_beyond_the_budget_returns_the_answer_at_once() {
    let server = Server::start(|_| Answer::Status(429, vec![("Retry-After", "3600".to_owned())], Vec::new()));
    let begun = Instant::now();
    let error = client().send(&get(&server, "/")).unwrap().success().unwrap_err();
    assert!(error.status() == Some(429) && begun.elapsed() < Duration::from_secs(2), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_transient_is_repeated_and_what_is_final_is_not() {
    for (status, attempts) in [(500, 4), (503, 4), (408, 4), (400, 1), (401, 1), (404, 1), (409, 1), (501, 1)]
    {
        let server = Server::start(move |_| json(status, &serde_json::json!({"error": "no"})));
        let error = client().send(&get(&server, "/")).unwrap().success().unwrap_err();
        assert_eq!((error.status(), server.requests().len()), (Some(status), attempts), "{error}");
    }
    let lost = Server::start(|_| Answer::Lost);
    let error = client().send(&get(&lost, "/")).unwrap_err();
    assert!(matches!(error, Error::Unreachable { attempts: 4, .. }), "{error:?}");
    assert!(error.source().is_some());
    let once = get(&lost, "/").retry(Retry::NONE);
    lost.take();
    client().send(&once).unwrap_err();
    assert_eq!(lost.requests().len(), 1);
}

#[test]
fn a_token_with_a_line_break_is_an_error_at_once_that_does_not_show_it() {
    let base = parse("https://hub.test").unwrap();
    let error = Credential::bearer(&base, "hf_secret\n").unwrap_err();
    assert!(matches!(error, Error::Header { .. }) && !error.is_transient());
    assert!(!format!("{error} {error:?}").contains("hf_secret"));
    let credential = Credential::bearer(&base, "hf_secret").unwrap();
    let request = Request::get(base).credential(Some(&credential));
    assert!(!format!("{credential:?} {request:?}").contains("hf_secret"));
    assert!(matches!(request.header("X-Name", "a\nb"), Err(Error::Header { .. })));
}

#[test]
fn a_call_is_cancelled_within_a_second_while_a_server_hangs_and_while_it_waits() {
    let hanging = Server::start(|_| Answer::Hang(Duration::from_secs(30)));
    let busy = Server::start(|_| Answer::Status(503, vec![("Retry-After", "60".to_owned())], Vec::new()));
    let dripping = Server::start(|_| Answer::Drip {
        headers: vec![],
        body: vec![b'x'; 1000],
        piece: 1,
        pause: Duration::from_secs(5),
    });
    let budget = Retry { budget: Duration::from_mins(10), ..retry() };
    for server in [&hanging, &busy, &dripping] {
        let begun = Instant::now();
        let asked = move || begun.elapsed() > Duration::from_millis(500);
        let outcome = client().send_unless(&get(server, "/?token=hf_secret").retry(budget), &asked);
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        assert!(!error.to_string().contains("hf_secret"), "{error}");
    }
}

#[test]
fn silence_never_lasts_longer_than_two_seconds() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Hang(Duration::from_millis(3500)),
        1 => Answer::Status(429, vec![("Retry-After", "3".to_owned())], Vec::new()),
        _ => Answer::Drip {
            headers: vec![],
            body: vec![b'x'; 40],
            piece: 10,
            pause: Duration::from_millis(900),
        },
    });
    let said = Arc::new(Mutex::new(vec![(Instant::now(), String::new())]));
    let heard = Arc::clone(&said);
    let notify = move |notice: &Notice<'_>| heard.lock().unwrap().push((Instant::now(), notice.to_string()));
    let options = Options { retry: retry(), notify: Some(Arc::new(notify)), ..Options::default() };
    let request = get(&server, "/a/b?X-Signature=secret");
    assert_eq!(Client::new(options).unwrap().send(&request).unwrap().body.len(), 40);
    let mut said = said.lock().unwrap().clone();
    said.push((Instant::now(), String::new()));
    for pair in said.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= Duration::from_secs(2), "{pair:?}");
    }
    let text: Vec<String> = said.into_iter().map(|(_, text)| text).collect();
    let all = text.join("\n");
    assert!(all.contains("/a/b, attempt 1") && all.contains("attempt 3, next in 3 s"), "{all}");
    assert!(all.contains("receiving") && !all.contains("secret"), "{all}");
}

#[test]
fn an_answer_that_never_comes_ends_its_attempt() {
    let server = Server::start(|_| Answer::Hang(Duration::from_mins(1)));
    let timeouts = Timeouts {
        connect: Duration::from_millis(200),
        first_byte: Duration::from_millis(300),
        idle: Duration::from_millis(300),
    };
    let options = Options { retry: Retry { attempts: 2, ..retry() }, timeouts, ..Options::default() };
    let begun = Instant::now();
    let error = Client::new(options).unwrap().send(&get(&server, "/x?secret=1")).unwrap_err();
    assert!(error.is_transient() && begun.elapsed() < Duration::from_secs(5), "{error:?}");
    assert!(!with_causes(&error).contains("secret"), "{}", with_causes(&error));
    assert_eq!(server.requests().len(), 2);

    let dripping = Server::start(|_| Answer::Drip {
        headers: vec![],
        body: vec![b'x'; 1000],
        piece: 1,
        pause: Duration::from_millis(50),
    });
    let limited = get(&dripping, "/").total(Duration::from_millis(400)).retry(Retry::NONE);
    assert!(matches!(client().send(&limited), Err(Error::TimedOut { .. })));
}

#[test]
fn a_web_page_where_json_is_due_is_named() {
    let server = Server::start(|_| {
        Answer::Status(
            200,
            vec![("Content-Type", "text/html".to_owned())],
            b"<!doctype html><p>Sign in".to_vec(),
        )
    });
    let error =
        client().send(&get(&server, "/api?x=secret")).unwrap().json::<serde_json::Value>().unwrap_err();
    assert!(matches!(error, Error::Form { .. }) && !error.is_transient());
    assert!(
        error.to_string().contains("a web page") && !with_causes(&error).contains("secret"),
        "{}",
        with_causes(&error)
    );
}

#[test]
fn bodies_are_sent_whole_from_memory_and_from_a_part_of_a_file_and_again_after_a_failure() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Answer::Lost,
        _ => text(200, ""),
    });
    let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, &content).unwrap();
    let url = || parse(&server.base).unwrap();
    client().send(&Request::put(url()).body(content.clone())).unwrap();
    let part = Body::File { path: path.clone(), offset: 1000, size: 200_000 };
    client().send(&Request::put(url()).body(part)).unwrap();
    client().send(&Request::new(Method::POST, url())).unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 6);
    assert_eq!(requests[1].body, content);
    assert_eq!(requests[3].body, content[1000..201_000]);
    assert_eq!(requests[5].header("content-length"), Some("0"));
    assert!(requests.iter().all(|request| request.header("transfer-encoding").is_none()));
    let gone = Body::File { path: dir.path().join("none"), offset: 0, size: 1 };
    assert!(matches!(client().send(&Request::put(url()).body(gone)), Err(Error::Io { .. })));
}

#[test]
fn answers_are_limited_before_they_are_read() {
    let server = Server::start(|request| match request.plain_path() {
        "/announced" => Answer::Cut { status: 200, headers: vec![], body: vec![], announced: 1 << 40 },
        _ => text(200, "0123456789"),
    });
    let error = client().send(&get(&server, "/announced")).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let error = client().send(&get(&server, "/").limit(9)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(server.requests().len(), 2);
    assert_eq!(client().send(&get(&server, "/").limit(10)).unwrap().body.len(), 10);
}

#[test]
fn redirects_have_an_end_and_do_not_lead_to_other_schemes() {
    let server = Server::start(|request| match request.plain_path() {
        "/loop" => redirect(302, "/loop?secret=1"),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/none" => text(302, ""),
        _ => redirect(302, "/loop"),
    });
    for path in ["/loop", "/file", "/none"] {
        let error = client().send(&get(&server, path)).unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }) && !error.to_string().contains("secret"), "{error}");
    }
    server.take();
    assert_eq!(client().send(&get(&server, "/loop").redirects(0)).unwrap().status, 302);
    let post = Request::post(parse(&server.base).unwrap());
    assert_eq!(client().send(&post).unwrap().status, 302, "a POST does not become a GET");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn certificates_that_cannot_be_used_are_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for certificates in [Some(empty), Some(dir.path().join("absent.pem"))] {
        let error = Client::new(Options { certificates, ..Options::default() }).unwrap_err();
        assert!(matches!(error, Error::Certificates { .. }), "{error}");
    }
}

/// A company's own authority: trusted where its file is named, else refused at once, with what to do.
#[test]
fn a_server_is_trusted_by_the_authority_that_the_options_name_and_by_no_other() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, |request| match request.plain_path() {
        "/plain" => redirect(302, "http://127.0.0.1:9/"),
        _ => text(200, "in"),
    });
    let dir = tempfile::tempdir().unwrap();
    let trusting = |file| {
        let options = Options { retry: retry(), certificates: Some(file), ..Options::default() };
        Client::new(options).unwrap()
    };
    let own = trusting(authority.write(dir.path()));
    let post = Request::post(parse(&server.base).unwrap()).body(vec![b'x'; 300_000]);
    assert_eq!(own.send(&get(&server, "/")).unwrap().body, b"in");
    assert_eq!(own.send(&post).unwrap().body, b"in");
    assert_eq!(server.take()[1].body.len(), 300_000);
    let error = own.send(&get(&server, "/plain")).unwrap_err();
    assert!(
        matches!(error, Error::Redirect { .. }),
        "what was asked over TLS is not answered without: {error}"
    );
    server.take();

    let other = tempfile::tempdir().unwrap();
    let other = trusting(Authority::new().write(other.path()));
    for (name, client) in [("the machine's", client()), ("another one", other)] {
        let begun = Instant::now();
        let error = client.send(&get(&server, "/x?secret=1")).unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }) && !error.is_transient(), "{name}: {error:?}");
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{name}: {error}");
        assert!(!with_causes(&error).contains("secret"), "{name}: {}", with_causes(&error));
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}: it is not tried again");
    }
    assert!(server.requests().is_empty(), "nothing was sent to a server that is not trusted");
}
