use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use pq_cli::{CommonArgs, HasCommon};
use slide_label::exchange::{Mapping, Scale};
use slide_label::web::PublicUrl;

/// Serves the labelling page, and brings ratings in and out.
///
/// Without a subcommand the page is served at `http://127.0.0.1:7860`, by a link with a secret that is printed and opened: rate one
/// slide after another by keyboard; every rating is on disk before it is acknowledged, and `data/labeled/labels.json` follows each
/// change. On another address (`--host 0.0.0.0`) or behind a proxy (`--public-url`) people need an invitation; the first start prints a
/// link for the lead, who invites the others from the page.
#[derive(Debug, Parser)]
#[command(name = "pq-label", version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Address to serve on; other than a loopback address it asks for invitations.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to serve on; 0 takes a free one.
    #[arg(long, default_value_t = 7860)]
    pub(crate) port: u16,
    /// The address that people type where a proxy stands before the server, as in `https://example.org/label`; asks for invitations.
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<PublicUrl>,
    /// A proxy whose word for a client's address is taken, or its network; with `--public-url` this machine, where none is named.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trusted_proxy: Vec<Network>,
    /// Do not open a browser.
    #[arg(long)]
    pub(crate) no_open: bool,
    /// While nobody rates, compute what the base model's vision tower says of the slides, so that the training that follows need not: runs
    /// `pq-collect features` at the lowest priority. The base model must be there, or is downloaded.
    #[arg(long)]
    pub(crate) features: bool,
    /// The data folder; left out, it is `[storage] data_dir` of data.toml, or `data`.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// The folder with predictions.jsonl; left out, it is `[storage] monitoring_dir` of data.toml, or `monitoring`.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) monitoring: Option<PathBuf>,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Merge ratings from a file, and say what became of each column and person; merging a file twice changes nothing.
    Import {
        /// The file: a table (CSV, TSV, Excel workbook), JSON lines, a list of ratings in JSON, labels.json, or an export of Label Studio or Argilla.
        file: PathBuf,
        /// Its format; left out, it is found from the file's name and content.
        #[arg(long)]
        format: Option<FormatArg>,
        /// Whose the ratings are that name nobody; left out, several such ratings of one slide are different people's (`imported 1`, `imported 2`).
        #[arg(long, value_name = "NAME")]
        annotator: Option<String>,
        /// Take ratings of slides that the manifest does not have, too.
        #[arg(long)]
        keep_unknown: bool,
        /// Say what would become of each column, control and person, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// What a column or control is: a criterion (`Overall=clarity`, on another scale `Impact=clarity:1-10`), `slide_id`, `annotator`, `notes`, `rated_at`, `kind`, `seconds` or `ignored`; may be repeated.
        #[arg(long, value_name = "COLUMN=KEY")]
        map: Vec<Mapping>,
        /// The scale of the file's scores, as in `1-10`; it is spread evenly over 1 to 5.
        #[arg(long, value_name = "LOW-HIGH")]
        scale: Option<Scale>,
        /// A table of people: an id, an address or another name as in the file, and the name that their ratings get.
        #[arg(long, value_name = "CSV")]
        people: Option<PathBuf>,
    },
    /// Write all ratings to standard output or a file.
    Export {
        /// The format.
        #[arg(long, default_value = "csv")]
        format: FormatArg,
        /// Where to; left out, standard output. A folder takes `tasks.json` and `config.xml` for Label Studio.
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// For Label Studio: tasks for slides that nobody has rated, too.
        #[arg(long)]
        unrated: bool,
        /// For Label Studio: what stands before an image's name, as in `/data/local-files/?d=slides/`; left out, its path in the project.
        #[arg(long, value_name = "PREFIX")]
        image_url: Option<String>,
    },
    /// How far people agree: within one point, exact, weighted kappa, Krippendorff's alpha, severity, human ceiling.
    Agreement {
        /// Also every pair of raters.
        #[arg(long)]
        pairs: bool,
        /// Bootstrap resamples behind the intervals.
        #[arg(long, default_value_t = 1000)]
        resamples: usize,
    },
    /// Check the journal line by line, and that labels.json is what follows from it.
    Verify,
    /// Derive labels.json from the journal.
    Rebuild,
    /// Print an invitation link for a person (the page's lead can do it too).
    Invite {
        /// The person's name.
        name: String,
        /// The person leads: sees agreement, decides disputes, invites.
        #[arg(long)]
        lead: bool,
        /// For how many days the link lets in; 0 for ever. Who is in by then stays in.
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// The address people reach the server at.
        #[arg(long, default_value = "http://127.0.0.1:7860")]
        url: String,
    },
}

/// An address, or a network as in `10.1.0.0/16`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network(pub(crate) IpNet);

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let net = text.parse().ok().or_else(address);
        net.map(Self).ok_or_else(|| "not an address or a network as in `10.1.0.0/16`".to_owned())
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatArg {
    Csv,
    Jsonl,
    Labels,
    LabelStudio,
}

impl From<FormatArg> for slide_label::exchange::Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Csv => Self::Csv,
            FormatArg::Jsonl => Self::Jsonl,
            FormatArg::Labels => Self::Labels,
            FormatArg::LabelStudio => Self::LabelStudio,
        }
    }
}
