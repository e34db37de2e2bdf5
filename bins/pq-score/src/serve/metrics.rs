//! What is counted and timed, as Prometheus reads it.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;

/// The counters of a service.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    request_time: Family<Labels, Histogram, fn() -> Histogram>,
    /// Slides that wait for the model.
    pub(super) waiting_slides: Gauge,
    /// Decks that wait.
    pub(super) waiting_decks: Gauge,
    wait_time: Histogram,
    batch_slides: Histogram,
    batch_time: Histogram,
    slides: Family<Labels, Counter>,
}

/// Seconds, from what a cached slide takes to what a long deck takes.
const SECONDS: [f64; 14] =
    [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(super) fn new(model_version: &str) -> Self {
        let mut registry = Registry::with_prefix("pq_score");
        let metrics = Self {
            requests: Family::default(),
            refused: Family::default(),
            request_time: Family::new_with_constructor(seconds),
            waiting_slides: Gauge::default(),
            waiting_decks: Gauge::default(),
            wait_time: seconds(),
            batch_slides: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            batch_time: seconds(),
            slides: Family::default(),
            registry: Registry::default(),
        };
        let unit = || Unit::Seconds;
        registry.register("requests", "Requests by route and status", metrics.requests.clone());
        registry.register("refused", "Requests that were refused, by reason", metrics.refused.clone());
        let times = metrics.request_time.clone();
        registry.register_with_unit("request", "Time from head to answer", unit(), times);
        registry.register("waiting_slides", "Slides that wait for the model", metrics.waiting_slides.clone());
        registry.register("waiting_decks", "Decks that wait to be read", metrics.waiting_decks.clone());
        let wait = metrics.wait_time.clone();
        registry.register_with_unit("wait", "Time that a slide waits for the model", unit(), wait);
        registry.register(
            "batch_slides",
            "Slides that went through the model at once",
            metrics.batch_slides.clone(),
        );
        let batch = metrics.batch_time.clone();
        registry.register_with_unit("batch", "Time of a batch in the model", unit(), batch);
        registry.register("slides", "Slides by outcome: rated, cached, failed", metrics.slides.clone());
        let info = Info::new(vec![("version", model_version.to_owned())]);
        registry.register("model", "The version that rates", info);
        Self { registry, ..metrics }
    }

    pub(super) fn request(&self, route: &str, status: u16, refused: Option<&str>, took: Duration) {
        let route = ("route", route.to_owned());
        self.requests.get_or_create(&vec![route.clone(), ("status", status.to_string())]).inc();
        self.request_time.get_or_create(&vec![route]).observe(took.as_secs_f64());
        if let Some(reason) = refused {
            let labels = vec![("status", status.to_string()), ("reason", reason.to_owned())];
            self.refused.get_or_create(&labels).inc();
        }
    }

    pub(super) fn batch(&self, slides: usize, took: Duration) {
        self.batch_slides.observe(slides as f64);
        self.batch_time.observe(took.as_secs_f64());
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait_time.observe(time.as_secs_f64());
    }

    pub(super) fn slide(&self, outcome: &str) {
        self.slides.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    /// All of them in the text form of `OpenMetrics`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        text
    }
}
