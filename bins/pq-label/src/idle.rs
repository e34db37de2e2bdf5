//! Has `pq-collect features` compute what a training will need, while nobody rates.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use slide_label::web::App;

use crate::args::Args;

/// So long nobody may have rated or opened a slide.
const QUIET: Duration = Duration::from_secs(10);
/// How often it is looked at that.
const LOOK: Duration = Duration::from_millis(500);
/// What a process that is to end may still take.
const LAST: Duration = Duration::from_secs(5);

/// The process that computes, as long as this lives.
pub(crate) struct WhileIdle {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl WhileIdle {
    /// `manifest` lists the slides.
    pub(crate) fn start(args: &Args, app: Arc<App>, manifest: PathBuf) -> Result<Self> {
        let mut worker = Worker { command: arguments(args)?, manifest, running: None, done: None };
        let (stop, stopped) = channel();
        let work = move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                worker.look(app.quiet_for() >= QUIET);
            }
            worker.end();
        };
        Ok(Self { stop, thread: Some(std::thread::spawn(work)) })
    }
}

impl Drop for WhileIdle {
    fn drop(&mut self) {
        // Where the thread is gone there is nothing to stop.
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The program beside this one, and this command's own settings.
fn arguments(args: &Args) -> Result<(PathBuf, Vec<String>)> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let beside = own.with_file_name(format!("pq-collect{}", std::env::consts::EXE_SUFFIX));
    let program = if beside.exists() { beside } else { PathBuf::from("pq-collect") };
    let mut all: Vec<String> = ["features", "--by-order"].map(str::to_owned).into();
    if let Some(config) = &args.common.config {
        all.extend(["--config".to_owned(), config.display().to_string()]);
    }
    let data = args.data.iter().map(|data| format!("storage.data_dir={}", data.display()));
    all.extend(args.common.overrides.iter().cloned().chain(data).flat_map(|one| ["--set".to_owned(), one]));
    Ok((program, all))
}

struct Worker {
    command: (PathBuf, Vec<String>),
    manifest: PathBuf,
    running: Option<Running>,
    /// The manifest's time when all its slides had been looked at, or that failed.
    done: Option<SystemTime>,
}

struct Running {
    child: Child,
    orders: ChildStdin,
    may_go: bool,
    manifest: Option<SystemTime>,
}

impl Worker {
    fn look(&mut self, is_quiet: bool) {
        let manifest = std::fs::metadata(&self.manifest).and_then(|file| file.modified()).ok();
        match &mut self.running {
            None if is_quiet && manifest != self.done => match self.start(manifest) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::warn!("what a training needs is not computed: {error:#}");
                    self.done = manifest;
                }
            },
            None => {}
            Some(running) => {
                if running.obeys(is_quiet) {
                    return;
                }
                self.done = running.manifest;
                self.running = None;
            }
        }
    }

    fn start(&self, manifest: Option<SystemTime>) -> Result<Running> {
        let (program, arguments) = &self.command;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let orders = child.stdin.take().context("the process has no standard input")?;
        Ok(Running { child, orders, may_go: true, manifest })
    }

    /// Ends the process: it stops by itself when its orders end, after the slide that it looks at.
    fn end(&mut self) {
        let Some(Running { mut child, orders, .. }) = self.running.take() else { return };
        drop(orders);
        let begin = Instant::now();
        while begin.elapsed() < LAST && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // What has ended already cannot be killed.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Running {
    /// Tells the process to work or wait; false once it has ended.
    fn obeys(&mut self, may_go: bool) -> bool {
        match self.child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                if !status.success() {
                    tracing::warn!(
                        "what a training needs is not computed whole: `pq-collect features` ended with {status}"
                    );
                }
                return false;
            }
            Err(_) => return false,
        }
        if may_go != self.may_go {
            self.may_go = may_go;
            let order: &[u8] = if may_go { b"go\n" } else { b"wait\n" };
            // A process that ended meanwhile is seen at the next look.
            let _ = self.orders.write_all(order);
        }
        true
    }
}
