use std::io::{IsTerminal as _, Write as _};

use tempfile::NamedTempFile;

/// Opens a link in this person's browser where there is one and somebody watches; the file must live until it is read.
///
/// The command line of a program can be read by every account of the machine, and the link has a secret: the browser is given a file
/// that only this person may read, and which leads to it.
pub(crate) fn open(link: &str) -> Option<NamedTempFile> {
    if !std::io::stderr().is_terminal() || !has_desktop() {
        return None;
    }
    let made = page(link).and_then(|file| open::that_detached(file.path()).map(|()| file));
    made.inspect_err(|error| tracing::debug!("no browser was opened: {error}")).ok()
}

/// Links hold no character that HTML knows otherwise: an address and hexadecimal digits.
fn page(link: &str) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("pq-label-").suffix(".html").tempfile()?;
    writeln!(
        file,
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\">\
         <meta http-equiv=\"refresh\" content=\"0; url={link}\"><title>pq-label</title><a href=\"{link}\">Rate slides</a>"
    )?;
    file.flush()?;
    Ok(file)
}

/// On Linux and its like a desktop says so; elsewhere there is always one.
fn has_desktop() -> bool {
    cfg!(any(target_os = "macos", windows))
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[test]
    fn the_page_that_leads_to_the_link_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let link = "http://127.0.0.1:7860/join#ab12";
        let file = super::page(link).unwrap();
        assert!(std::fs::read_to_string(file.path()).unwrap().contains(&format!("url={link}\"")));
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o077, 0);
    }
}
