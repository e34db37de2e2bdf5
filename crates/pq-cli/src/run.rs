use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ArgAction, Args, Parser};
use tracing_subscriber::EnvFilter;

use crate::{ConfigError, Hint, ProjectConfig, log};

/// The arguments every command takes.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Folder with data.toml, model.toml, training.toml, monitoring.toml, serve.toml and processes.toml [default: config].
    #[arg(long, value_name = "DIR", global = true)]
    pub config: Option<PathBuf>,
    /// Print the result as JSON on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on stderr (-v, -vv).
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Override one configuration value, as in `--set training.learning_rate=1e-4` (a table and key of any file).
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE", global = true)]
    pub overrides: Vec<String>,
}

impl CommonArgs {
    /// Reads the configuration files and applies the overrides.
    ///
    /// # Errors
    /// When the folder was named and is not there, a file is not TOML, or a file or an override names an unknown table or key.
    pub fn configuration(&self) -> Result<ProjectConfig, ConfigError> {
        let dir = self.config.as_deref().unwrap_or(Path::new("config"));
        ProjectConfig::load(dir, self.config.is_some(), &self.overrides)
    }
}

/// Gives access to the common arguments of a command.
pub trait HasCommon {
    /// The common arguments.
    fn common(&self) -> &CommonArgs;
}

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done or passed: exit status 0.
    Pass,
    /// The command ran and the answer is no: exit status 1.
    Fail,
    /// The command ran and the data do not tell: exit status 3.
    Undecided,
    /// It was asked to stop before its end, keeps what it has, and can carry on: exit status 4.
    Stopped,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C (or a termination signal) has asked the command to stop; long loops look at it between items.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Parses the arguments, sets up logging and Ctrl-C, runs `command` and turns its end into an exit status.
///
/// A first Ctrl-C sets [`interrupted`]; a second one ends the process at once with status 130.
pub fn run<A: Parser + HasCommon>(command: impl FnOnce(&A) -> anyhow::Result<Verdict>) -> ExitCode {
    let args = A::parse();
    init_logging(args.common().verbose);
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "a second Ctrl-C means now")]
            std::process::exit(130);
        }
        tracing::warn!("stopping after the current item; press Ctrl-C again to stop at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will not be handled cleanly: {error}");
    }
    exit_code(command(&args))
}

/// The exit status of what a command returned; an error is reported.
fn exit_code(result: anyhow::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::from(1),
        Ok(Verdict::Undecided) => ExitCode::from(3),
        Ok(Verdict::Stopped) => ExitCode::from(4),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(2)
        }
    }
}

fn init_logging(verbose: u8) {
    let default = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_writer(log::Lines)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .with_env_filter(filter)
        .init();
}

#[expect(clippy::print_stderr, reason = "the one place where a command speaks of its failure")]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(remedy) = error
        .downcast_ref::<Hint>()
        .map(Hint::remedy)
        .or_else(|| remedy_of_settings(error))
        .or_else(|| remedy_of_io(error))
    {
        eprintln!("hint: {remedy}");
    }
}

/// Who asks for something that is noted: the name that was given, else `GITHUB_ACTOR`, else `USER`.
pub fn asked_by(named: Option<&str>) -> String {
    let known = || ["GITHUB_ACTOR", "USER"].into_iter().find_map(crate::secrets::variable);
    named.map(str::to_owned).or_else(known).unwrap_or_else(|| "nobody named".to_owned())
}

/// What helps where a folder, a file or a setting is not what the command line or the configuration says.
fn remedy_of_settings(error: &anyhow::Error) -> Option<&'static str> {
    use project_files::Error::{NoFile, NoFolder};
    error.chain().find_map(|cause| {
        if matches!(cause.downcast_ref(), Some(NoFolder { .. } | NoFile { .. })) {
            return Some("run the command in the project's folder, or mend the setting; `pq-project check` shows the layout");
        }
        let config = cause.downcast_ref::<ConfigError>()?;
        Some(match config {
            ConfigError::Read { .. } => "name the folder of the configuration files with --config",
            _ => "mend the file or the --set value",
        })
    })
}

/// What helps against a failure of the machine, wherever it happened.
fn remedy_of_io(error: &anyhow::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        FileTooLarge, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().find_map(|kind| match kind {
        StorageFull | QuotaExceeded | FileTooLarge => {
            Some("free some space on the disk, then run it again; what was there is as it was")
        }
        PermissionDenied | ReadOnlyFilesystem => {
            Some("allow your user to read and write there, or name another folder")
        }
        NotADirectory => Some("a file lies where a folder is needed: move it away, or name another folder"),
        _ => None,
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
