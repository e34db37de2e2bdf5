//! What the files are that hold no slides, so that each can be named.

use std::path::Path;

use crate::Reason;

const NOTHING: &str = "nothing is to be done";
const DECK: &str = "if it is a deck, export it as PDF";

/// What a file is by its name, where that is told by the name alone: lock files, downloads that did not end, what stands for a file
/// in a cloud, notes of operating systems. `head` are its first bytes.
pub(super) fn by_role(name: &str, head: &[u8]) -> Option<Reason> {
    let lower = name.to_lowercase();
    let extension = lower.rsplit_once('.').map_or("", |(_, extension)| extension);
    match () {
        () if name.starts_with("~$") => {
            Some(Reason::foreign("the lock file of a document that an Office program has open", NOTHING))
        }
        () if name.starts_with(".~lock.") => {
            Some(Reason::foreign("the lock file of a document that LibreOffice has open", NOTHING))
        }
        () if name.starts_with('.') && extension == "icloud" => {
            let remedy =
                "open its folder in the Finder and click the cloud beside the file, then collect again";
            Some(Reason::foreign("a file that iCloud keeps online only", remedy))
        }
        () if SYSTEM.contains(&lower.as_str()) || name.starts_with("._") => {
            Some(Reason::foreign("a note of the operating system", NOTHING))
        }
        () if name == "source.toml" => {
            Some(Reason::foreign("the licence of the decks beside it", "it is read as that"))
        }
        () if name.starts_with('.') => {
            Some(Reason::foreign("hidden (its name begins with a dot)", "rename it if it holds slides"))
        }
        () if DOWNLOADS.contains(&extension) => {
            Some(Reason::foreign("a download that has not ended", "let it end, or download the file again"))
        }
        () if GOOGLE.contains(&extension) => Some(google(extension, head)),
        () if LINKS.contains(&extension) => Some(Reason::foreign(
            "a link to a file or page elsewhere",
            "give pq-collect that file, or the address of the deck",
        )),
        () => None,
    }
}

const SYSTEM: [&str; 10] = [
    ".ds_store",
    ".localized",
    ".directory",
    ".dropbox",
    ".dropbox.cache",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    ".gitkeep",
];
const DOWNLOADS: [&str; 9] =
    ["crdownload", "part", "partial", "download", "opdownload", "aria2", "!qb", "filepart", "!ut"];
const GOOGLE: [&str; 7] = ["gslides", "gdoc", "gsheet", "gdraw", "gform", "gsite", "gjam"];
const LINKS: [&str; 4] = ["url", "webloc", "lnk", "desktop"];

/// A Google document on a synchronized drive is a note with its number; a presentation can be fetched by its address.
fn google(extension: &str, head: &[u8]) -> Reason {
    if extension != "gslides" {
        return Reason::foreign("a link to a Google document, not the document", DECK);
    }
    let id = serde_json::from_slice::<serde_json::Value>(head).ok().and_then(|note| {
        let id =
            note["doc_id"].as_str().or_else(|| note["resource_id"].as_str()?.strip_prefix("presentation:"));
        id.map(str::to_owned)
            .or_else(|| Some(note["url"].as_str()?.split("/d/").nth(1)?.split('/').next()?.to_owned()))
    });
    let is_plain =
        |id: &String| id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) && !id.is_empty();
    let remedy = id.filter(is_plain).map_or_else(
        || "open it and download it as PDF (File, Download)".to_owned(),
        |id| {
            format!(
                "download it as PDF (File, Download), or where anybody with the link may see it: pq-collect https://docs.google.com/presentation/d/{id}/edit"
            )
        },
    );
    Reason::Foreign { what: "a link to Google Slides, not the deck".into(), remedy: remedy.into() }
}

/// What a file is that holds no slides by its name and content.
pub(super) fn by_kind(name: &str, head: &[u8], size: u64) -> Reason {
    if size == 0 {
        return Reason::EmptyFile;
    }
    let extension =
        Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let known = KINDS.iter().find(|(extensions, _, _)| extensions.contains(&extension.as_str()));
    if let Some(&(_, what, remedy)) = known {
        return Reason::foreign(what, remedy);
    }
    by_content(head)
}

fn by_content(head: &[u8]) -> Reason {
    match () {
        () if head.starts_with(b"-----BEGIN") => Reason::foreign("a key or certificate", NOTHING),
        () if head.get(4..8) == Some(b"ftyp") || head.starts_with(b"\x1a\x45\xdf\xa3") => {
            Reason::foreign(FILM.0, FILM.1)
        }
        () if head.starts_with(b"\x7fELF") || head.starts_with(b"MZ") => {
            Reason::foreign("a program", NOTHING)
        }
        () if head.starts_with(b"SQLite format 3") => Reason::foreign("a database", NOTHING),
        () if is_text(head) => Reason::foreign("a text", DECK),
        () => Reason::foreign("nothing that is known to hold slides", DECK),
    }
}

const FILM: (&str, &str) = ("a film", "take the slides from its deck, or export frames as PNG");

/// Extensions, what the file is, and what to do.
static KINDS: [(&[&str], &str, &str); 11] = [
    (&["txt", "md", "rst", "tex", "log", "org", "adoc", "srt", "vtt"], "a text", DECK),
    (
        &["csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "toml", "ini", "parquet", "sql"],
        "a table or data file",
        NOTHING,
    ),
    (
        &["htm", "html", "xhtml", "mht", "mhtml"],
        "a web page",
        "if it shows slides, print it to PDF from a browser",
    ),
    (
        &["eml", "msg", "mbox", "ics", "vcf"],
        "a message or calendar entry",
        "save the decks attached to it as files",
    ),
    (&["mp4", "mov", "avi", "mkv", "webm", "m4v", "wmv", "mpg", "mpeg", "flv", "3gp"], FILM.0, FILM.1),
    (&["mp3", "wav", "m4a", "aac", "flac", "ogg", "opus", "wma"], "a sound recording", NOTHING),
    (&["ttf", "otf", "woff", "woff2", "ttc", "eot"], "a font", "install it if the decks use it"),
    (
        &["exe", "dll", "so", "dylib", "msi", "dmg", "pkg", "iso", "deb", "rpm", "bin"],
        "a program or disk image",
        NOTHING,
    ),
    (
        &[
            "py", "js", "ts", "rs", "c", "h", "cpp", "java", "go", "rb", "sh", "bat", "ps1", "ipynb", "css",
            "r", "swift",
        ],
        "a program's source",
        NOTHING,
    ),
    (
        &["fig", "xd", "indd", "ai", "eps", "cdr", "afdesign", "afpub", "vsd", "pub", "one", "drawio", "dwg"],
        "a document of a design program",
        "export it as PDF or PNG",
    ),
    (
        &["key", "pem", "crt", "cer", "p12", "asc", "gpg", "pgp"],
        "a key, certificate or encrypted file",
        NOTHING,
    ),
];

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut through.
        Err(error) if error.valid_up_to() + 4 > head.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, head: &[u8]) -> String {
        by_role(name, head).unwrap_or_else(|| by_kind(name, head, head.len() as u64)).to_string()
    }

    #[test]
    fn files_are_named_by_what_they_are() {
        let cases: [(&str, &[u8], &str); 16] = [
            ("~$deck.pptx", b"x", "lock file"),
            (".~lock.deck.odp#", b"x", "lock file"),
            (".deck.key.icloud", b"bplist00", "iCloud"),
            ("deck.pdf.crdownload", b"%PDF-", "has not ended"),
            ("deck.pptx.part", b"PK", "has not ended"),
            (".DS_Store", b"x", "operating system"),
            ("._deck.pdf", b"x", "operating system"),
            ("Thumbs.db", b"x", "operating system"),
            (".env", b"x", "hidden"),
            ("source.toml", b"license = 'x'", "licence"),
            ("talk.mov", b"x", "a film"),
            ("deck.url", b"[InternetShortcut]", "a link"),
            ("server.key", b"-----BEGIN PRIVATE KEY-----", "key"),
            ("LICENSE", b"Permission is hereby granted", "a text"),
            ("nothing", b"", "0 bytes"),
            ("blob", b"\0\x01\x02\xff\xfe", "nothing that is known"),
        ];
        for (name, head, words) in cases {
            assert!(said(name, head).contains(words), "{name}: {}", said(name, head));
        }
        assert!(by_role("deck.pptx", b"PK").is_none() && by_role("deck.pdf", b"%PDF-").is_none());
    }

    #[test]
    fn a_link_to_google_slides_says_the_address() {
        let notes = [
            r#"{"doc_id":"1AbC-d_9","resource_key":"","email":"a@b.example"}"#,
            r#"{"url":"https://docs.google.com/presentation/d/1AbC-d_9/edit?usp=drive_fs"}"#,
            r#"{"resource_id":"presentation:1AbC-d_9"}"#,
        ];
        for note in notes {
            let said = said("deck.gslides", note.as_bytes());
            assert!(said.contains("https://docs.google.com/presentation/d/1AbC-d_9/edit"), "{said}");
        }
        for odd in ["", "no note", r#"{"doc_id":"a b\nc"}"#] {
            assert!(said("deck.gslides", odd.as_bytes()).contains("File, Download"), "{odd}");
        }
    }
}
