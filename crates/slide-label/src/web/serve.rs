//! Connections: how many there may be, and how long each may take over what.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use super::{App, app};

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; others wait to be accepted.
    pub connections: usize,
    /// Connections at a time from one address that is no trusted proxy; others are closed at once.
    pub connections_of_address: usize,
    /// From the first byte of a request, or the end of the one before, to the end of the request's head.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_of_address: 64,
            head: Duration::from_secs(20),
            body: Duration::from_secs(20),
            idle: Duration::from_mins(1),
        }
    }
}

/// The open connections of each address.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; given back when dropped.
struct Place {
    open: Open,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    /// A place for one more connection; none where the address has its share.
    fn take(&self, address: IpAddr, most: usize, permit: OwnedSemaphorePermit) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { open: self.clone(), address, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Serves until `stop` is ready, then lets running requests end, for a moment.
///
/// A client that sends its request by the byte, sends no body, reads no answer or sends nothing at all is left after the limits; a
/// connection more than the limits allow waits, or is closed.
pub async fn serve(listener: TcpListener, state: Arc<App>, limits: Limits, stop: impl Future<Output = ()>) {
    let router = app(state.clone());
    serve_router(listener, router, limits, move |address| state.trusts(address), stop).await;
}

/// As [`serve`], for any router. `trusts` says which addresses are proxies, which may open as many connections as there are.
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    trusts: impl Fn(IpAddr) -> bool,
    stop: impl Future<Output = ()>,
) {
    const GRACE: Duration = Duration::from_secs(2);
    let (places, open, running) =
        (Arc::new(Semaphore::new(limits.connections)), Open::default(), GracefulShutdown::new());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let Some((stream, address, permit)) = accepted else { continue };
        let most = if trusts(address.ip()) { limits.connections } else { limits.connections_of_address };
        let Some(place) = open.take(address.ip(), most, permit) else {
            tracing::debug!("{address} has too many connections");
            continue;
        };
        let connection = running.watch(connection(stream, address, &router, limits));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection of {address} ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = running.shutdown() => {},
        () = tokio::time::sleep(GRACE) => {},
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    /// The system has no more files to give: one will be closed.
    const PAUSE: Duration = Duration::from_millis(200);
    let permit = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            tracing::warn!("a connection was not taken: {error}");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

type Io = TokioIo<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>;

/// Serves one connection. A keep-alive connection that is idle waits for a head, and not longer than for one.
fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: &Router,
    limits: Limits,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    // An image goes out in pieces; waiting to fill packets would cost each the client's delayed acknowledgement (40 ms).
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection keeps its delay: {error}");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.idle));
    let router = router.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        answer(router.clone(), request, limits.body)
    });
    let io: Io = TokioIo::new(Box::pin(stream));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(io, service)
}

/// The router's answer; where a body does not come in time, that.
async fn answer(router: Router, request: Request, patience: Duration) -> Result<Response, Infallible> {
    let has_body = !matches!(*request.method(), Method::GET | Method::HEAD);
    let answering = router.oneshot(request);
    if !has_body {
        return answering.await;
    }
    match tokio::time::timeout(patience, answering).await {
        Ok(answered) => answered,
        Err(_) => Ok((StatusCode::REQUEST_TIMEOUT, [(header::CONNECTION, "close")]).into_response()),
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
