//! `pq-score serve`: scores over HTTP.
//!
//! Requests hand their slides in at the [`desk`]; one thread owns the model and takes them in batches, another one notes the results, all
//! that wait with one write, and only then is anybody answered. Decks are [`jobs`] that a few threads read page by page.

mod about;
mod answer;
mod decks;
mod desk;
mod feedback;
mod guard;
mod jobs;
mod keys;
mod metrics;
mod queue;
mod recent;
mod ship;
mod slides;
mod state;
mod upload;
mod versions;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use durable_files::GroupLog;
use pq_cli::{CommonArgs, Hint, Verdict, WithHint as _};
use report_pages::CorrectionForm;
use slide_data::image::{Rgb, RgbImage};
use slide_label::Corrections;
use slide_label::web::{Limits as ConnectionLimits, serve_router};
use slide_scorer::{ServeConfig, SlideImage};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::args::ServeArgs;
use crate::failures::FailureLog;
use crate::keep::Keeper;
use crate::model::Chosen;

use desk::{Desk, rate_guarded};
use metrics::Metrics;
use ship::Shipping;
use state::{App, Parts, TOKEN, Token};

/// The interface and the pages.
fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/slides", post(slides::rate))
        .route("/decks", post(decks::submit))
        .route("/decks/{id}", get(decks::show))
        .route("/decks/{id}/result", get(decks::result))
        .route("/decks/{id}/report", get(decks::report))
        .route("/scores/{id}", get(feedback::scores))
        .route("/corrections", post(feedback::correct))
        .route("/health", get(about::health))
        .route("/ready", get(about::ready))
        .route("/metrics", get(about::metrics))
        .route("/openapi.json", get(about::openapi))
        .route("/docs", get(about::docs))
        .route("/", get(about::page))
        .route("/assets/{name}", get(about::asset))
        .layer(DefaultBodyLimit::disable()) // each route has its own, which it refuses by what is declared
        .layer(from_fn_with_state(app.clone(), guard::admit))
        .layer(from_fn(guard::add_headers))
        .layer(from_fn_with_state(app.clone(), guard::measure))
        .with_state(app)
}

/// Serves until Ctrl-C or SIGTERM; what was begun is ended within `serve.drain_s`.
pub(crate) fn serve(common: &CommonArgs, args: &ServeArgs) -> Result<Verdict> {
    let chosen = Chosen::find(common, &args.model)?;
    let config: ServeConfig = chosen.project.section("serve", ServeConfig::validate)?;
    let token = token_for(args.host)?;
    let layout = &chosen.layout;
    let own = args.replica.as_deref().map(|replica| layout.replica_predictions(replica));
    let log = own.unwrap_or_else(|| layout.predictions());
    let log = (!args.model.no_log).then_some(log);
    let failures = FailureLog::beside(log.as_deref(), &chosen.version);
    let log = log.map(GroupLog::open).transpose()?;
    let shipping = Shipping::of(layout, args)?;
    let keeper = Keeper::new(&chosen.layout, chosen.kept.clone(), log.is_some());
    let (desk, records) = Desk::new(&config, Arc::new(Metrics::new(&chosen.version)));
    let app = Arc::new(app(&chosen, config, token, desk, failures)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let address = (args.host, args.port);
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .hint(format!("cannot listen on {}:{}", args.host, args.port), "choose another port with `--port`")?;
    tracing::info!("listening on http://{}", listener.local_addr().context("the socket has no address")?);
    let stopped = Arc::new(Notify::new());
    let (shipping_ends, ended) = channel::<()>();
    let is_drained = std::thread::scope(|scope| {
        if let Some(shipping) = &shipping {
            scope.spawn(move || shipping.now_and_then(&ended));
        }
        let _shipping_ends = shipping_ends;
        let model = scope.spawn(|| {
            let rated = rate(&app, &chosen);
            app.desk.end_notes();
            stopped.notify_one(); // without a model there is nothing to serve
            rated
        });
        let (desk, log) = (&app.desk, log.as_ref());
        scope.spawn(move || desk.note_all(&records, log, keeper));
        for _ in 0..app.config.decks_at_once {
            scope.spawn(|| decks::read_all(&app));
        }
        let stop = stop(app.clone(), stopped.clone());
        let limits = connection_limits(&app.config);
        let trusts = |address: IpAddr| address.is_loopback(); // a proxy on this machine
        runtime.block_on(serve_router(listener, router(app.clone()), limits, trusts, stop));
        let is_drained = app.is_idle();
        app.jobs.close();
        app.desk.close();
        model.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of the model ended")))?;
        anyhow::Ok(is_drained)
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    let is_shipped = shipping.is_none_or(|shipping| shipping.at_the_end());
    if !is_drained {
        tracing::warn!("stopped before all was rated; what was answered is in the log");
    }
    Ok(if is_drained && is_shipped { Verdict::Pass } else { Verdict::Fail })
}

/// The token; who listens where others can come must have one.
fn token_for(host: IpAddr) -> Result<Option<Token>> {
    let token = Token::find()?;
    if token.is_none() && !host.is_loopback() {
        bail!(Hint::new(
            format!("{host} can be reached from elsewhere, and there is no token"),
            format!("set {TOKEN} in the environment or in .env, or listen on 127.0.0.1")
        ));
    }
    Ok(token)
}

fn app(
    chosen: &Chosen,
    config: ServeConfig,
    token: Option<Token>,
    desk: Desk,
    failures: FailureLog,
) -> Result<App> {
    Ok(App::new(Parts {
        limits: chosen.limits.clone(),
        rubric: chosen.settings.rubric.clone(),
        version: chosen.version.clone(),
        quality: chosen.quality()?,
        rated: chosen.rated_slides(),
        comparison: chosen.comparison()?,
        corrections: Corrections::open(&chosen.layout.corrections())?,
        layout: chosen.layout.clone(),
        desk: Arc::new(desk),
        config,
        // Nobody knows slides that are not logged, so a correction of them would say nothing.
        form: if failures.is_kept() { CorrectionForm::Service } else { CorrectionForm::None },
        failures,
        token,
    }))
}

/// Loads the model, rates a first slide with it, and then whatever comes.
fn rate(app: &App, chosen: &Chosen) -> Result<()> {
    let scorer = Arc::new(chosen.load()?);
    let image = RgbImage::from_fn(640, 360, |x, y| Rgb([(x % 256) as u8, (y % 256) as u8, 200]));
    let slide = SlideImage { slide_id: "warm-up".to_owned(), deck_id: "warm-up".to_owned(), image };
    let start = Instant::now();
    rate_guarded(&scorer, std::slice::from_ref(&slide)).context("the model cannot rate a slide")?;
    tracing::info!("{} is ready; its first slide took {:.1} s", app.version, start.elapsed().as_secs_f64());
    app.desk.open_with(scorer.clone());
    app.set_ready();
    app.desk.rate_all(&scorer, &app.config);
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM and then until what was begun has ended, or may not go on any longer; or until there is no model.
async fn stop(app: Arc<App>, no_model: Arc<Notify>) {
    const LOOK: Duration = Duration::from_millis(50);
    while !pq_cli::interrupted() {
        tokio::select! {
            () = no_model.notified() => return,
            () = tokio::time::sleep(LOOK) => {},
        }
    }
    app.set_draining();
    let until = Instant::now() + Duration::from_secs(app.config.drain_s);
    while !(app.is_idle() && app.jobs.was_fetched()) && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// A rating may take its time; a head, a body and a client that reads may not.
fn connection_limits(config: &ServeConfig) -> ConnectionLimits {
    ConnectionLimits {
        body: Duration::from_secs(config.body_timeout_s + config.slide_timeout_s + 10),
        ..ConnectionLimits::default()
    }
}
