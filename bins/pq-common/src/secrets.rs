//! Where keys come from: the environment, `.env` in the working folder, and the services' own usual files. Keys are never
//! arguments and never printed.

use std::path::{Path, PathBuf};

/// The API key of Weights & Biases.
pub const WANDB_API_KEY: &str = "WANDB_API_KEY";
/// The address of Weights & Biases, for self-hosted servers.
pub const WANDB_BASE_URL: &str = "WANDB_BASE_URL";
/// The token of the Hugging Face Hub.
pub const HF_TOKEN: &str = "HF_TOKEN";
/// The address of the Hub, for self-hosted servers.
pub const HF_ENDPOINT: &str = "HF_ENDPOINT";

/// The value of a variable: from the environment, else from `.env` in the working folder. Empty counts as unset.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.or_else(|| from_dotenv(&std::fs::read_to_string(".env").ok()?, name))
}

/// The key of Weights & Biases: [`WANDB_API_KEY`], else the entry of `~/.netrc` for the server's host.
pub fn wandb_api_key(base_url: &str) -> Option<String> {
    variable(WANDB_API_KEY).or_else(|| {
        let netrc = std::fs::read_to_string(home()?.join(".netrc")).ok()?;
        from_netrc(&netrc, host(base_url))
    })
}

/// The token of the Hub: [`HF_TOKEN`], else the file that the Hub's own client keeps it in.
pub fn hub_token() -> Option<String> {
    variable(HF_TOKEN).or_else(|| read_trimmed(&hub_home().join("token")))
}

/// The folder in which all of the Hub's clients keep what they downloaded.
pub fn hub_cache() -> PathBuf {
    variable("HF_HUB_CACHE").map_or_else(|| hub_home().join("hub"), PathBuf::from)
}

fn hub_home() -> PathBuf {
    let usual = || home().unwrap_or_default().join(".cache/huggingface");
    variable("HF_HOME").map_or_else(usual, PathBuf::from)
}

fn home() -> Option<PathBuf> {
    std::env::home_dir()
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

fn from_dotenv(text: &str, name: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        (key.trim() == name).then(|| unquoted.unwrap_or(value).to_owned()).filter(|value| !value.is_empty())
    })
}

fn from_netrc(text: &str, host: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let mut here = false;
    while let Some(word) = words.next() {
        match word {
            "machine" => here = words.next() == Some(host),
            "default" => here = true,
            "password" if here => return words.next().map(str::to_owned),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotenv_values_may_be_quoted_and_exported() {
        let text = "# a comment\nexport HF_TOKEN='hf_x'\nEMPTY=\nWANDB_API_KEY = \"k\" \n";
        assert_eq!(from_dotenv(text, HF_TOKEN).as_deref(), Some("hf_x"));
        assert_eq!(from_dotenv(text, WANDB_API_KEY).as_deref(), Some("k"));
        assert_eq!(from_dotenv(text, "EMPTY"), None);
    }

    #[test]
    fn netrc_gives_the_password_of_that_host_only() {
        let text =
            "machine a.example login user password one\nmachine b.example\n  login user\n  password two\n";
        assert_eq!(from_netrc(text, host("https://b.example:443/path")).as_deref(), Some("two"));
        assert_eq!(from_netrc(text, "c.example"), None);
    }
}
