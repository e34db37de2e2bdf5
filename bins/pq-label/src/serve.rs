use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use pq_cli::{Verdict, WithHint};
use slide_label::web::{Access, App, AppSettings, app};
use slide_label::{Error, Role};

use crate::args::Args;
use crate::project::{Project, warn_of_broken_lines};

/// Serves until Ctrl-C; what was taken is on disk when this returns.
pub(crate) fn serve(args: &Args, project: Project) -> Result<Verdict> {
    project.manifest()?;
    let access =
        if args.host.is_loopback() { Access::Local } else { Access::Invited { is_https: args.https } };
    let Project { paths, rubric, config, audit_days } = project;
    let settings = AppSettings { paths, rubric, config, access, audit_days };
    let (state, opened) = match App::open(settings) {
        Err(error @ Error::Locked { .. }) => {
            let remedy = "stop the other server (or use its page); a store takes one server at a time";
            return Err(error).hint("the ratings are in use", remedy);
        }
        opened => opened?,
    };
    if opened.defects.torn_bytes > 0 {
        let bytes = opened.defects.torn_bytes;
        tracing::warn!("an unfinished line of {bytes} bytes was set aside; it had never been acknowledged");
    }
    warn_of_broken_lines(&opened.defects);
    for (event, error) in opened.refused {
        tracing::warn!("event `{}` does not count: {error}", event.id);
    }
    let state = Arc::new(state);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(listen(args, access, state.clone()))?;
    drop(runtime); // no request runs any more; the last state waits for the disk when it is dropped
    drop(state);
    Ok(Verdict::Pass)
}

async fn listen(args: &Args, access: Access, state: Arc<App>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind((args.host, args.port))
        .await
        .hint(format!("cannot listen on {}:{}", args.host, args.port), "choose another port with `--port`")?;
    let address = listener.local_addr().context("the socket has no address")?;
    tracing::info!("{} slides to rate at http://{address}", state.slide_count());
    if access != Access::Local {
        if state.has_invited_lead() {
            tracing::info!("people come in by their invitation links; `pq-label invite NAME` makes new ones");
        } else {
            let token = state.invite("Lead", Role::Lead)?;
            tracing::info!("the lead's link, shown only now: http://{address}/join#{token}");
        }
        if !args.https {
            tracing::warn!(
                "connections are not encrypted; put an HTTPS proxy before it (and say --https), or use a tunnel"
            );
        }
    }
    // An image goes out in pieces; waiting to fill packets would cost each the client's delayed acknowledgement (40 ms).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection keeps its delay: {error}");
        }
    });
    let service = app(state).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(interrupted());
    tokio::select! {
        ended = server => ended.context("the server failed"),
        () = grace() => Ok(()),
    }
}

async fn interrupted() {
    while !pq_cli::interrupted() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Browsers keep connections open; they are not waited for longer than this.
async fn grace() {
    interrupted().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}
