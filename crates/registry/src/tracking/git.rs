use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// Which code a folder holds, as git has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GitState {
    /// The commit that is checked out.
    pub commit: String,
    /// The address of `origin`, without a user name or password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remote: String,
    /// Whether files that git knows differ from the commit.
    pub is_dirty: bool,
}

/// What git says of a folder; `None` where there is no git or no commit.
pub fn git_state(folder: &Path) -> Option<GitState> {
    let commit = git(folder, &["rev-parse", "--verify", "HEAD"])?;
    let changes = git(folder, &["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    let remote = git(folder, &["remote", "get-url", "origin"]).unwrap_or_default();
    Some(GitState { commit, remote: without_secret(&remote), is_dirty: !changes.is_empty() })
}

fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args(args)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// An address as it may be shown: a web address can hold a token.
fn without_secret(remote: &str) -> String {
    if !remote.contains("://") {
        return remote.to_owned(); // `git@host:path`, or a folder
    }
    http_client::Url::parse(remote).map(|url| http_client::place(&url)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_token() {
        let shown = [
            ("https://user:token@host.test/a/b.git", "https://host.test/a/b.git"),
            ("https://token@host.test/a.git?x=token", "https://host.test/a.git"),
            ("git@host.test:a/b.git", "git@host.test:a/b.git"),
            ("/srv/a.git", "/srv/a.git"),
        ];
        for (remote, expected) in shown {
            assert_eq!(without_secret(remote), expected);
        }
    }

    #[test]
    fn a_folder_without_git_has_no_state() {
        assert_eq!(git_state(tempfile::tempdir().unwrap().path()), None);
    }
}
