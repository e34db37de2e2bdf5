//! The files of a request, read within limits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use crate::ids::id_for_key;

use super::answer::{Rejection, TOO_LARGE};
use super::state::App;

/// A file that a client sent.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// The files of a request; its place among those whose bodies are in memory is given back with them.
pub(super) struct Files {
    pub(super) files: Vec<File>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// So many files may come in one request.
const MOST_FILES: usize = 16;

/// Reads a body: a form with files, or one file whose name is in the query. What declares more than `most` bytes is refused before
/// anything of it is read; that is noted like other files that cannot be rated.
pub(super) async fn read(
    app: &Arc<App>,
    request: Request,
    name: Option<String>,
    most: usize,
) -> Result<Files, Rejection> {
    let asked = format!("{} {:?}", name.as_deref().unwrap_or_default(), declared(&request));
    let files = read_files(app, request, name, most).await;
    if let Err(refusal) = &files
        && [TOO_LARGE, EMPTY].contains(&refusal.code)
    {
        let (app, code) = (app.clone(), refusal.code);
        let id = id_for_key(&asked, 0, code);
        let reason = if code == EMPTY { "is empty" } else { "is too large to be sent" };
        // Who refuses many such bodies at once need not note each of them.
        if let Ok(permit) = app.disk.clone().try_acquire_owned() {
            tokio::task::spawn_blocking(move || {
                app.failures.note_unread(id, reason);
                drop(permit);
            });
        }
    }
    files
}

const EMPTY: &str = "empty";

async fn read_files(
    app: &Arc<App>,
    request: Request,
    name: Option<String>,
    most: usize,
) -> Result<Files, Rejection> {
    refuse_declared(&request, most)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let busy = |_| Rejection::busy("too many uploads at once", 1);
    let permit = app.uploads.clone().try_acquire_owned().map_err(busy)?;
    let reading = async {
        if is_form {
            return read_form(request, most).await;
        }
        let bytes = whole(request, most).await?;
        Ok(vec![File { name: file_name(&name.unwrap_or_default()), bytes }])
    };
    let files = in_time(app, reading).await?;
    match files.iter().find(|file| file.bytes.is_empty()) {
        _ if files.is_empty() => Err(Rejection::invalid("the request holds no file")),
        Some(empty) => {
            let refusal = Rejection::invalid(format!("`{}` is empty", empty.name));
            Err(Rejection { code: EMPTY, ..refusal })
        }
        None => Ok(Files { files, permit }),
    }
}

/// Reads a body that is no file.
pub(super) async fn read_body(app: &App, request: Request, most: usize) -> Result<Bytes, Rejection> {
    refuse_declared(&request, most)?;
    in_time(app, whole(request, most)).await
}

fn too_large(most: usize) -> Rejection {
    Rejection::too_large(format!("the body is larger than {} KiB", most >> 10))
}

fn refuse_declared(request: &Request, most: usize) -> Result<(), Rejection> {
    if declared(request).is_some_and(|length| length > most) { Err(too_large(most)) } else { Ok(()) }
}

/// The length that a body is said to have.
fn declared(request: &Request) -> Option<usize> {
    let declared = request.headers().get(header::CONTENT_LENGTH)?.to_str().ok();
    declared.and_then(|length| length.parse().ok())
}

async fn in_time<T>(app: &App, reading: impl Future<Output = Result<T, Rejection>>) -> Result<T, Rejection> {
    let patience = Duration::from_secs(app.config.body_timeout_s);
    let slow = |_| Rejection::new(StatusCode::REQUEST_TIMEOUT, "slow", "the body did not come in time");
    tokio::time::timeout(patience, reading).await.map_err(slow)?
}

async fn whole(request: Request, most: usize) -> Result<Bytes, Rejection> {
    to_bytes(request.into_body(), most).await.map_err(|error| unreadable(&error, most))
}

async fn read_form(request: Request, most: usize) -> Result<Vec<File>, Rejection> {
    let broken =
        |error: &dyn std::fmt::Display| Rejection::invalid(format!("the form cannot be read: {error}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| broken(&error.body_text()))?;
    let (mut files, mut left) = (Vec::new(), most);
    while let Some(mut field) = form.next_field().await.map_err(|error| broken(&error.body_text()))? {
        let Some(name) = field.file_name().map(file_name) else { continue };
        if files.len() == MOST_FILES {
            return Err(Rejection::invalid(format!("more than {MOST_FILES} files in one request")));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error.body_text()))? {
            left = left.checked_sub(piece.len()).ok_or_else(|| too_large(most))?;
            bytes.extend_from_slice(&piece);
        }
        files.push(File { name, bytes: bytes.into() });
    }
    Ok(files)
}

/// A body that is longer than it may be, or that broke off.
fn unreadable(error: &axum::Error, most: usize) -> Rejection {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return too_large(most);
        }
        cause = error.source();
    }
    Rejection::new(StatusCode::BAD_REQUEST, "cut_off", "the body broke off")
}

/// The last part of a name, without what a file system could take for something else.
fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|c| !c.is_control()).collect();
    let plain = plain.trim().trim_start_matches('.');
    // The extension tells presentations apart, so it is the beginning of a long name that goes.
    let short: String = plain.chars().skip(plain.chars().count().saturating_sub(80)).collect();
    if short.is_empty() { "upload".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for (given, kept) in [
            ("deck.pdf", "deck.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\decks\\a b.pptx", "a b.pptx"),
            (".hidden.pdf", "hidden.pdf"),
            ("", "upload"),
            ("..", "upload"),
            ("a\0b\n.pdf", "ab.pdf"),
            ("дек 🚀.pdf", "дек 🚀.pdf"),
        ] {
            assert_eq!(file_name(given), kept, "{given:?}");
        }
        let long = file_name(&format!("{}.pdf", "x".repeat(300)));
        assert!(
            long.len() == 80 && long.rsplit_once('.').is_some_and(|(_, suffix)| suffix == "pdf"),
            "{long}"
        );
    }
}
