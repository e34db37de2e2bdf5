use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use pq_cli::{Verdict, WithHint};
use slide_label::web::{Access, App, AppSettings, Limits, PublicUrl, serve as serve_connections};
use slide_label::{Error, Opened, Role};

use crate::args::Args;
use crate::browser;
use crate::idle::WhileIdle;
use crate::project::{Project, warn_of_broken_lines, warn_of_uncounted};

/// Who is on this machine alone needs no invitation.
fn settings(args: &Args, project: Project) -> AppSettings {
    let is_local = args.host.is_loopback() && args.public_url.is_none();
    AppSettings {
        paths: project.paths,
        rubric: project.rubric,
        config: project.config,
        access: if is_local { Access::Local } else { Access::Invited },
        public_url: args.public_url.clone(),
        trusted_proxies: trusted_proxies(args),
        audit_days: project.audit_days,
    }
}

/// Says what of the journal does not count.
fn warn_of_journal(opened: &Opened) {
    if opened.defects.torn_bytes > 0 {
        let bytes = opened.defects.torn_bytes;
        tracing::warn!("an unfinished line of {bytes} bytes was set aside; it had never been acknowledged");
    }
    warn_of_broken_lines(&opened.defects);
    for (event, error) in &opened.refused {
        tracing::warn!("event `{}` does not count: {error}", event.id);
    }
    warn_of_uncounted(&opened.uncounted);
}

/// Serves until Ctrl-C; what was taken is on disk when this returns.
pub(crate) fn serve(args: &Args, project: Project) -> Result<Verdict> {
    project.manifest()?;
    let manifest = project.paths.slides().manifest();
    let (state, opened) = match App::open(settings(args, project)) {
        Err(error @ Error::Locked { .. }) => {
            let remedy = "stop the other server (or use its page); a store takes one server at a time";
            return Err(error).hint("the ratings are in use", remedy);
        }
        opened => opened?,
    };
    warn_of_journal(&opened);
    let state = Arc::new(state);
    let while_idle = args.features.then(|| WhileIdle::start(args, state.clone(), manifest)).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(listen(args, state.clone()))?;
    drop(while_idle);
    drop(runtime); // no request runs any more; the last state waits for the disk when it is dropped
    drop(state);
    Ok(Verdict::Pass)
}

/// With a public address the proxy is on this machine unless another one is named.
fn trusted_proxies(args: &Args) -> Vec<IpNet> {
    let named = args.trusted_proxy.iter().map(|network| network.0);
    let here = [IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST)].map(IpNet::from);
    if args.trusted_proxy.is_empty() && args.public_url.is_some() { here.into() } else { named.collect() }
}

/// For how long the first lead's link lets in.
const FIRST_LINK_DAYS: u32 = 7;

async fn listen(args: &Args, state: Arc<App>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind((args.host, args.port))
        .await
        .hint(format!("cannot listen on {}:{}", args.host, args.port), "choose another port with `--port`")?;
    let address = listener.local_addr().context("the socket has no address")?;
    let here = reached_at(address);
    let slides = state.slide_count();
    let mut opened = None;
    if state.access() == Access::Local {
        let link = format!("{here}/join#{}", state.local_key());
        tracing::info!("{slides} slides to rate at {link}");
        opened = if args.no_open { None } else { browser::open(&link) };
    } else {
        let url = args.public_url.as_ref().map_or(here, ToString::to_string);
        tracing::info!("{slides} slides to rate at {url} (listening on {address})");
        say_who_gets_in(args, &state, &url)?;
    }
    serve_connections(listener, state, limits(), interrupted()).await;
    drop(opened);
    Ok(())
}

fn say_who_gets_in(args: &Args, state: &App, url: &str) -> Result<()> {
    if state.has_invited_lead() {
        tracing::info!("people come in by their invitation links; `pq-label invite NAME` makes new ones");
    } else {
        let token = state.invite("Lead", Role::Lead, Some(FIRST_LINK_DAYS))?;
        tracing::info!("the lead's link, shown only now, for {FIRST_LINK_DAYS} days: {url}/join#{token}");
    }
    if !args.public_url.as_ref().is_some_and(PublicUrl::is_https) {
        tracing::warn!(
            "connections are not encrypted; put an HTTPS proxy before it (and name its address by --public-url), or use a tunnel"
        );
    }
    Ok(())
}

/// Where a browser reaches the server: for "any address of this machine" the one that leads out of it.
fn reached_at(address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() { outward().unwrap_or(address.ip()) } else { address.ip() };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The address from which this machine would reach others; nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// No more connections than this process may have files open, some being left for the files themselves.
fn limits() -> Limits {
    let usual = Limits::default();
    Limits { connections: usual.connections.min(open_files() / 2).max(16), ..usual }
}

#[cfg(unix)]
fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(not(unix))]
fn open_files() -> usize {
    usize::MAX
}

async fn interrupted() {
    while !pq_cli::interrupted() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
