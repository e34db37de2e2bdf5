use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Parser};
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
    let args: A = parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
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

/// Reads the arguments. What belongs to the command without a subcommand is refused before the name of one, which would pass over it.
fn parse<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, clap::Error> {
    let mut command = A::command();
    let mut matches = command.try_get_matches_from_mut(words)?;
    if let Some(message) = misplaced(&command, &matches) {
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

fn misplaced(command: &Command, matches: &ArgMatches) -> Option<String> {
    let name = matches.subcommand_name()?;
    let is_given = |arg: &&Arg| {
        !arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let arg = command.get_arguments().find(is_given)?;
    let given = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => matches.get_raw(arg.get_id().as_str())?.next()?.to_string_lossy().into_owned(),
    };
    Some(format!(
        "`{given}` stands before the subcommand `{name}` and is none of its arguments: those follow `{name}`, and a file that is \
         called so is given as `./{name}`"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Subcommand;

    #[derive(Debug, Parser)]
    #[command(subcommand_negates_reqs = true)]
    struct Sample {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: Option<Sub>,
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        #[arg(long)]
        dry_run: bool,
        #[arg(long, default_value_t = 4)]
        batch: usize,
        #[arg(long, global = true)]
        registry: Option<PathBuf>,
    }

    #[derive(Debug, Subcommand)]
    enum Sub {
        Merge {
            dir: PathBuf,
            #[arg(long)]
            dry_run: bool,
        },
    }

    fn sample(words: &[&str]) -> Result<Sample, clap::Error> {
        parse(["sample"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn options_of_every_subcommand_may_stand_before_it() {
        for words in [
            &["--config", "x", "--set", "a.b=1", "--registry", "r", "-v", "--json", "merge", "d"][..],
            &["merge", "--config", "x", "--set", "a.b=1", "--registry", "r", "-v", "--json", "d"],
        ] {
            let Sample { common, command, registry, .. } = sample(words).unwrap();
            assert!(matches!(command, Some(Sub::Merge { dir, dry_run: false }) if dir == Path::new("d")));
            assert_eq!((common.config, registry), (Some("x".into()), Some("r".into())));
            assert_eq!((common.overrides, common.verbose, common.json), (vec!["a.b=1".to_owned()], 1, true));
        }
        let Some(Sub::Merge { dry_run, .. }) = sample(&["merge", "d", "--dry-run"]).unwrap().command else {
            panic!("it is the subcommand's");
        };
        assert!(dry_run);
    }

    #[test]
    fn what_a_subcommand_would_pass_over_is_refused_with_where_it_belongs() {
        for (words, given) in [
            (&["--dry-run", "merge", "d"][..], "`--dry-run` stands before the subcommand `merge`"),
            (&["--batch", "4", "merge", "d"], "`--batch` stands"),
            (&["deck.pdf", "--json", "merge", "d"], "`deck.pdf` stands"),
        ] {
            let error = sample(words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let said = error.to_string();
            assert!(said.contains(given) && said.contains("`./merge`") && said.contains("Usage:"), "{said}");
        }
    }

    #[test]
    fn a_file_may_be_called_like_a_subcommand() {
        for words in [&["./merge"][..], &["--batch", "2", "./merge"], &["--", "merge"], &["a.pdf", "merge"]] {
            let Sample { command, inputs, .. } = sample(words).unwrap();
            assert!(command.is_none() && inputs.last().unwrap().ends_with("merge"), "{words:?}");
        }
        assert_eq!(sample(&[]).unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
        assert_eq!(sample(&["--help"]).unwrap_err().exit_code(), 0);
    }
}
