//! What the frozen vision tower says of the slides, computed before a training asks for it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use pq_cli::{CommonArgs, Layout, Verdict, WithHint as _};
use project_files::Contract as _;
use serde::Serialize;
use slide_data::{Labels, Manifest, SlideRecord};
use slide_scorer::{Settings, SlideImage, SlideScorer};

use crate::args::Args;
use crate::{Project, collect, print};

/// Slides that go through the tower together.
const BATCH: usize = 8;
/// How often a process that is to wait looks whether it was interrupted.
const PAUSE: Duration = Duration::from_millis(200);

/// Brings decks in, then looks at all slides.
pub(crate) fn after_collecting(args: &Args, project: &Project) -> Result<Verdict> {
    match collect::collect(args, project)? {
        Verdict::Pass => Ok(compute(&args.common, &project.layout, &mut Orders::none())?.verdict()),
        other => Ok(other),
    }
}

/// Looks at the slides that are there; `by_order` while another process wishes it.
pub(crate) fn look_at_slides(args: &Args, project: &Project, by_order: bool) -> Result<Verdict> {
    project.layout.require_data()?;
    let mut orders = if by_order { Orders::from_stdin() } else { Orders::none() };
    let looked = compute(&args.common, &project.layout, &mut orders)?;
    if args.common.json {
        print(&format!("{}\n", serde_json::to_string(&looked)?))?;
    }
    Ok(looked.verdict())
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Looked {
    /// Slides that were looked at.
    slides: usize,
    /// Slides whose image cannot be read.
    unreadable: usize,
    /// Tiles whose features were there.
    found: u64,
    /// Tiles whose features were computed.
    computed: u64,
    /// Whether it was stopped before all slides were looked at.
    is_stopped: bool,
}

impl Looked {
    fn verdict(&self) -> Verdict {
        match (self.is_stopped, self.unreadable) {
            (true, _) => Verdict::Stopped,
            (false, 0) => Verdict::Pass,
            (false, _) => Verdict::Fail,
        }
    }
}

/// Looks at all slides that may be trained on, those that are rated first; what is kept already costs reading the image.
fn compute(common: &CommonArgs, layout: &Layout, orders: &mut Orders) -> Result<Looked> {
    let settings = Settings::load(&common.configuration()?)?;
    let slides = ordered(layout)?;
    let scorer = SlideScorer::open_to_look(&settings, layout)?;
    let looked = look(&scorer, layout, &slides, orders)?;
    let Looked { slides: seen, found, computed, .. } = looked;
    tracing::info!("looked at {seen} of {} slides: {computed} tiles computed, {found} there", slides.len());
    Ok(looked)
}

/// The usable slides, those with labels before the others.
fn ordered(layout: &Layout) -> Result<Vec<SlideRecord>> {
    let files = layout.slides();
    let manifest =
        Manifest::read(files.root()).hint("there are no slides", "bring decks in with pq-collect PATH")?;
    let labels = Labels::read_if_present(&layout.labels())?.unwrap_or_default();
    let rated: BTreeSet<&String> = labels.slides.keys().collect();
    let mut slides: Vec<SlideRecord> = manifest.usable().cloned().collect();
    slides.sort_by_key(|slide| !rated.contains(&slide.slide_id));
    Ok(slides)
}

fn look(
    scorer: &SlideScorer,
    layout: &Layout,
    slides: &[SlideRecord],
    orders: &mut Orders,
) -> Result<Looked> {
    let bar = bar(slides.len());
    let mut looked = Looked::default();
    // Who is to wait at a word does not take many slides at once.
    let size = if orders.0.is_some() { 1 } else { BATCH };
    for batch in slides.chunks(size) {
        if !orders.wait_for_go() {
            looked.is_stopped = true;
            break;
        }
        let images: Vec<SlideImage> = batch.iter().filter_map(|slide| read(layout, slide)).collect();
        scorer.pooled_features(&images)?;
        looked.slides += images.len();
        looked.unreadable += batch.len() - images.len();
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let tally = scorer.feature_tally();
    Ok(Looked { found: tally.found, computed: tally.computed, ..looked })
}

/// The image of a slide; one that cannot be read is warned of.
fn read(layout: &Layout, slide: &SlideRecord) -> Option<SlideImage> {
    let path = layout.slides().image(&slide.slide_id);
    match slide_data::image::open(&path) {
        Ok(image) => Some(SlideImage {
            slide_id: slide.slide_id.clone(),
            deck_id: slide.deck_id.clone(),
            image: image.into_rgb8(),
        }),
        Err(error) => {
            tracing::warn!("cannot read the slide `{}`: {error}", path.display());
            None
        }
    }
}

/// Lets every other process go first.
fn give_way() {
    #[cfg(unix)]
    if let Err(error) = rustix::process::nice(19) {
        tracing::debug!("the priority stays as it is: {error}");
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(slides: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("looking at slides {bar:30} {pos}/{len} · {eta} left");
    ProgressBar::new(slides as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What another process says; nothing where there is none to obey.
struct Orders(Option<Receiver<bool>>);

impl Orders {
    fn none() -> Self {
        Self(None)
    }

    /// Lines of standard input say `go` or `wait`, and its end is the end. Whoever works by order lets every other process go first.
    fn from_stdin() -> Self {
        give_way();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
                if send.send(line.trim() == "go").is_err() {
                    return;
                }
            }
        });
        Self(Some(receive))
    }

    /// Waits until work may go on; false where it is to end.
    fn wait_for_go(&mut self) -> bool {
        let Some(orders) = &self.0 else { return !pq_cli::interrupted() };
        let mut may_go = None;
        loop {
            match orders.try_recv() {
                Ok(order) => may_go = Some(order),
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => break,
            }
        }
        let mut waits = may_go == Some(false);
        while waits && !pq_cli::interrupted() {
            match orders.recv_timeout(PAUSE) {
                Ok(order) => waits = !order,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        !pq_cli::interrupted()
    }
}
