//! Where keys come from: the environment, `.env` in the working folder, and the services' own usual files, under the names
//! that the services' own clients know. Keys are never arguments and never printed, nor is a line that may hold one.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use netrc::Netrc;
use url::Url;

/// The API key of Weights & Biases.
pub const WANDB_API_KEY: &str = "WANDB_API_KEY";
/// The address of Weights & Biases, for self-hosted servers.
pub const WANDB_BASE_URL: &str = "WANDB_BASE_URL";
/// The token of the Hugging Face Hub.
pub const HF_TOKEN: &str = "HF_TOKEN";
/// The address of the Hub, for self-hosted servers.
pub const HF_ENDPOINT: &str = "HF_ENDPOINT";

/// The value of a variable, without white space around it: from the environment, else from `.env` in the working folder.
/// Empty counts as unset.
pub fn variable(name: &str) -> Option<String> {
    Sources::here().variable(name)
}

/// Whether a variable is set to 1, on, yes or true, as the Hub's own client reads it.
pub fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|value| is_true(&value))
}

/// The key of Weights & Biases: [`WANDB_API_KEY`], else the entry for the server's host in `$NETRC` or `~/.netrc`. A `default`
/// entry belongs to no host in particular and is never taken.
pub fn wandb_api_key(base_url: &str) -> Option<String> {
    Sources::here().wandb_api_key(base_url)
}

/// The token of the Hub: [`HF_TOKEN`], else `HUGGING_FACE_HUB_TOKEN`, else the file that `HF_TOKEN_PATH` names or the Hub's own
/// client keeps it in.
pub fn hub_token() -> Option<String> {
    Sources::here().hub_token()
}

/// The folder in which all of the Hub's clients keep what they downloaded: `HF_HUB_CACHE`, else `hub` below `HF_HOME`.
pub fn hub_cache() -> PathBuf {
    Sources::here().hub_cache()
}

/// Whether the Hub is not to be asked: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
pub fn is_hub_offline() -> bool {
    is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE")
}

/// The certificates that are trusted in place of the machine's: `SSL_CERT_FILE`, else `REQUESTS_CA_BUNDLE`.
pub fn certificates() -> Option<PathBuf> {
    Sources::here().certificates()
}

/// Where variables and files are looked for.
struct Sources<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    dotenv: PathBuf,
    home: Option<PathBuf>,
}

impl Sources<'static> {
    fn here() -> Self {
        Self {
            environment: &|name| std::env::var(name).ok(),
            dotenv: PathBuf::from(".env"),
            home: std::env::home_dir(),
        }
    }
}

impl Sources<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let filled = |value: String| Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        let from_file = || from_dotenv(&std::fs::read_to_string(&self.dotenv).ok()?, name);
        (self.environment)(name).and_then(filled).or_else(|| from_file().and_then(filled))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?;
        match value.strip_prefix("~/") {
            Some(rest) => Some(self.home.as_ref()?.join(rest)),
            None => Some(PathBuf::from(value)),
        }
    }

    fn wandb_api_key(&self, base_url: &str) -> Option<String> {
        self.variable(WANDB_API_KEY).or_else(|| {
            let usual = || Some(self.home.as_ref()?.join(if cfg!(windows) { "_netrc" } else { ".netrc" }));
            let path = self.path("NETRC").or_else(usual)?;
            from_netrc(&std::fs::read_to_string(&path).ok()?, base_url).or_else(|| {
                tracing::debug!("`{}` holds no key for Weights & Biases", path.display());
                None
            })
        })
    }

    fn certificates(&self) -> Option<PathBuf> {
        self.path("SSL_CERT_FILE").or_else(|| self.path("REQUESTS_CA_BUNDLE"))
    }

    fn hub_token(&self) -> Option<String> {
        let file = || self.path("HF_TOKEN_PATH").unwrap_or_else(|| self.hub_home().join("token"));
        let named = self.variable(HF_TOKEN).or_else(|| self.variable("HUGGING_FACE_HUB_TOKEN"));
        named.or_else(|| read_trimmed(&file()))
    }

    fn hub_cache(&self) -> PathBuf {
        let named = self.path("HF_HUB_CACHE").or_else(|| self.path("HUGGINGFACE_HUB_CACHE"));
        named.unwrap_or_else(|| self.hub_home().join("hub"))
    }

    fn hub_home(&self) -> PathBuf {
        let usual = || self.home.clone().unwrap_or_default().join(".cache");
        self.path("HF_HOME")
            .unwrap_or_else(|| self.path("XDG_CACHE_HOME").unwrap_or_else(usual).join("huggingface"))
    }
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The last line that sets `name`. The process' environment is left as it is.
fn from_dotenv(text: &str, name: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut found = None;
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((key, value)) if key == name => found = Some(value),
            Ok(_) => {}
            // Its text may be a secret.
            Err(_) => {
                tracing::debug!("a line of `.env` cannot be read: KEY=value, quoted where it has spaces");
            }
        }
    }
    found
}

/// The password of the entry for exactly the host of `base_url`.
fn from_netrc(text: &str, base_url: &str) -> Option<String> {
    /// The name under which the crate keeps the `default` entry.
    const DEFAULT: &str = "default";
    let url = Url::parse(base_url).ok()?;
    let host = url.host_str().filter(|host| *host != DEFAULT)?;
    // What it says of a file that cannot be read may be a word of a password.
    let Ok(mut netrc) = Netrc::from_str(text) else {
        tracing::warn!("the netrc file cannot be read; no key is taken from it");
        return None;
    };
    let key = netrc.hosts.remove(host)?.password.trim().to_owned();
    Some(key).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotenv_values_may_be_quoted_exported_and_followed_by_a_comment() {
        let text = "# a comment\nexport HF_TOKEN='hf_x'\nEMPTY=\nWANDB_API_KEY = \"k\" \nA=hf_abc # mine\nB=a#b\nA2='x # y'\n";
        let value = |name| from_dotenv(text, name);
        assert_eq!(value(HF_TOKEN).as_deref(), Some("hf_x"));
        assert_eq!(value(WANDB_API_KEY).as_deref(), Some("k"));
        assert_eq!(value("A").as_deref(), Some("hf_abc"));
        assert_eq!(value("B").as_deref(), Some("a#b"));
        assert_eq!(value("A2").as_deref(), Some("x # y"));
        assert_eq!(value("EMPTY").as_deref(), Some(""));
        assert_eq!(from_dotenv("\u{feff}K=1\nnot a line\nK=2", "K").as_deref(), Some("2"));
        assert!(std::env::var("A2").is_err(), "the environment is left as it is");
    }

    #[test]
    fn netrc_gives_the_password_of_that_host_only() {
        let text = "machine a.example login user password one\n\nmacdef init\nmachine b.example login x password macro\n\n\
                    machine b.example\n  login user\n  password \"t w#o\"\ndefault login anonymous password other\n";
        assert_eq!(from_netrc(text, "https://b.example:443/path").as_deref(), Some("t w#o"));
        assert_eq!(from_netrc(text, "https://a.example").as_deref(), Some("one"));
        for other in [
            "https://c.example",
            "https://default",
            "https://a.example.evil.test",
            "nonsense",
            "https://xa.example",
        ] {
            assert_eq!(from_netrc(text, other), None, "{other}");
        }
        assert_eq!(from_netrc("machine a.example login u password p nonsense", "https://a.example"), None);
    }

    /// Sources of which only the listed variables are set.
    fn with<T>(set: &[(&str, &str)], home: &Path, look: impl Fn(&Sources<'_>) -> T) -> T {
        let environment =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        look(&Sources { environment: &environment, dotenv: home.join(".env"), home: Some(home.to_owned()) })
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a method's path is not general enough in its lifetime"
    )]
    #[test]
    fn the_hubs_token_is_found_where_its_own_client_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path();
        let token = |set: &[(&str, &str)]| with(set, path, |sources| sources.hub_token());
        assert_eq!(token(&[]), None);
        std::fs::create_dir_all(path.join(".cache/huggingface")).unwrap();
        std::fs::write(path.join(".cache/huggingface/token"), "hf_file\n").unwrap();
        std::fs::write(path.join("mine"), " hf_mine\r\n").unwrap();
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        let mine = path.join("mine").display().to_string();
        assert_eq!(token(&[("HF_TOKEN_PATH", &mine)]).as_deref(), Some("hf_mine"));
        assert_eq!(token(&[("HF_TOKEN_PATH", "~/mine")]).as_deref(), Some("hf_mine"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_old"));
        let both = [("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_TOKEN", "hf_new\n")];
        assert_eq!(token(&both).as_deref(), Some("hf_new"), "a line break at the end is no part of it");
        assert_eq!(token(&[("HF_TOKEN", " \n")]).as_deref(), Some("hf_file"), "blank counts as unset");
        std::fs::write(path.join(".env"), "HF_TOKEN=hf_abc # mine\n").unwrap();
        assert_eq!(token(&[]).as_deref(), Some("hf_abc"));
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a method's path is not general enough in its lifetime"
    )]
    #[test]
    fn the_hubs_cache_lies_where_its_own_client_has_it() {
        let home = Path::new("/home/me");
        let cache = |set: &[(&str, &str)]| with(set, home, |sources| sources.hub_cache());
        assert_eq!(cache(&[]), home.join(".cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
    }

    #[test]
    fn the_key_of_weights_and_biases_comes_from_the_netrc_that_is_named() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".netrc"), "machine api.wandb.ai login user password usual\n")
            .unwrap();
        std::fs::write(home.path().join("other"), "default login user password foreign\n").unwrap();
        let key = |set: &[(&str, &str)]| with(set, home.path(), |s| s.wandb_api_key("https://api.wandb.ai"));
        assert_eq!(key(&[]).as_deref(), Some("usual"));
        assert_eq!(key(&[("WANDB_API_KEY", "set")]).as_deref(), Some("set"));
        assert_eq!(key(&[("NETRC", "~/other")]), None, "the default entry belongs to somebody else");
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a method's path is not general enough in its lifetime"
    )]
    #[test]
    fn certificates_are_named_by_either_variable() {
        let named = |set: &[(&str, &str)]| with(set, Path::new("/home/me"), |sources| sources.certificates());
        let (first, second) = (("SSL_CERT_FILE", "/a.pem"), ("REQUESTS_CA_BUNDLE", "~/b.pem"));
        assert_eq!(named(&[]), None);
        assert_eq!(named(&[second]).as_deref(), Some(Path::new("/home/me/b.pem")));
        assert_eq!(named(&[second, first]).as_deref(), Some(Path::new("/a.pem")));
    }

    #[test]
    fn switches_are_read_as_the_hubs_client_reads_them() {
        assert!(["1", "ON", "yes", "True"].iter().all(|value| is_true(value)));
        assert!(!["0", "off", "no", "2", ""].iter().any(|value| is_true(value)));
    }
}
