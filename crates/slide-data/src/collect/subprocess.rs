use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::worker::{Answer, Job, Reader, refusal};
use crate::{Limits, Reason};

/// How often a reader that says nothing is looked after.
const TICK: Duration = Duration::from_millis(50);
/// A slide that comes at the last moment still counts.
const GRACE: Duration = Duration::from_millis(200);

/// Reads in a process of its own that is ended, with all that it started, when it takes too long or the run stops, and started
/// anew when it dies.
#[derive(Debug)]
pub struct Subprocess {
    program: PathBuf,
    arguments: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Answer>,
}

impl Subprocess {
    /// A reader that runs `program` with `arguments`, which must call [`serve`](super::serve) on its standard input and output.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self { program, arguments, running: None }
    }

    fn start(&self) -> std::io::Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A group of its own: Ctrl-C is for the run, which then ends its readers; and it can be ended as a whole.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let missing = || std::io::Error::other("the reader has no pipes");
        let (input, output) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let (sender, answers) = sync_channel(64);
        std::thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines() {
                let answer = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(answer) = answer else { break };
                if sender.send(answer).is_err() {
                    break;
                }
            }
        })?;
        Ok(Running { child, input, answers })
    }

    fn send(&mut self, job: &Job) -> std::io::Result<&Receiver<Answer>> {
        let running = if let Some(running) = self.running.take() { running } else { self.start()? };
        let running = self.running.insert(running);
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        running.input.write_all(&line).and_then(|()| running.input.flush())?;
        Ok(&running.answers)
    }

    /// Ends the process; says how it ended.
    fn end(&mut self) -> String {
        let Some(mut running) = self.running.take() else { return "it was not running".to_owned() };
        let status = crate::process::end(&mut running.child);
        status.map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// The output has ended: waits for the process itself, whose status tells why.
    fn crash(&mut self) -> String {
        if let Some(running) = &mut self.running {
            for _ in 0..20 {
                if let Ok(Some(status)) = running.child.try_wait() {
                    self.running = None;
                    return status.to_string();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.end()
    }
}

impl Reader for Subprocess {
    fn read(&mut self, job: &Job, stop: &AtomicBool, answer: &mut dyn FnMut(Answer)) {
        if job.input.path.to_str().is_none() {
            answer(refusal(&Reason::NameNotUtf8));
            return;
        }
        let ended = match self.send(job) {
            Ok(answers) => follow(answers, &job.limits, stop, answer),
            Err(error) => Ended::Failed(error.to_string()),
        };
        let reason = match ended {
            Ended::Well => return,
            Ended::Stopped => {
                self.end();
                return;
            }
            Ended::Slow(reason) => {
                self.end();
                reason
            }
            Ended::Crashed => Reason::Crashed(self.crash()),
            Ended::Failed(error) => {
                self.end();
                Reason::Crashed(error)
            }
        };
        answer(refusal(&reason));
    }
}

/// How reading one file ended.
enum Ended {
    Well,
    Stopped,
    Slow(Reason),
    Crashed,
    Failed(String),
}

/// Hands the answers on until the last one, under the time limits.
fn follow(
    answers: &Receiver<Answer>,
    limits: &Limits,
    stop: &AtomicBool,
    answer: &mut dyn FnMut(Answer),
) -> Ended {
    let start = Instant::now();
    let mut last = start;
    loop {
        match answers.recv_timeout(TICK) {
            Ok(next @ (Answer::Done(_) | Answer::Refused(..) | Answer::NoStore(_))) => {
                answer(next);
                return Ended::Well;
            }
            Ok(next) => {
                answer(next);
                last = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return Ended::Crashed,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.load(Ordering::Relaxed) {
            return Ended::Stopped;
        }
        if last.elapsed() > limits.time_limit() + GRACE {
            return Ended::Slow(Reason::slow_slide(limits.time_limit_s));
        }
        if start.elapsed() > limits.file_time_limit() + GRACE {
            let limit_s = limits.file_time_limit_s;
            return Ended::Slow(Reason::TimedOut { key: "file_time_limit_s", limit_s });
        }
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.end();
    }
}
