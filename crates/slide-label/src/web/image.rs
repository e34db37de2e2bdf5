use std::io::{Read, Seek};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use super::error::Rejection;
use super::session::SignedIn;
use super::state::App;
use crate::Error;

/// So much of an image is in memory at a time, however slow the connection: fifty phones that each load five images need 16 MB.
const PIECE_BYTES: usize = 64 * 1024;

/// The image of a slide, piece by piece from disk.
pub(super) async fn image(
    State(app): State<Arc<App>>,
    SignedIn(_): SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    app.note_work();
    let slide = app.slide(&id).ok_or_else(|| Rejection::unknown_slide(&id))?;
    let tag = format!("\"{}\"", slide.sha256);
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, max-age=3600".to_owned())];
    if !slide.sha256.is_empty()
        && headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, body(&app, &id).await?).into_response())
}

/// Opens an image; its kind, length and pieces.
async fn body(app: &App, id: &str) -> Result<impl IntoResponse + use<>, Rejection> {
    let path = app.settings().paths.slides().image(id);
    let opened = tokio::task::spawn_blocking(move || open(&path).map_err(|error| (path, error))).await;
    match opened {
        Ok(Ok((file, length, media_type))) => {
            let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES);
            let kind =
                [(header::CONTENT_TYPE, media_type.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
            Ok((kind, Body::from_stream(pieces)))
        }
        Ok(Err((path, error))) => {
            tracing::warn!("cannot read `{}`: {error}", path.display());
            let message = format!("the image of `{id}` cannot be read");
            Err(Rejection::new(StatusCode::NOT_FOUND, "no_picture", message))
        }
        Err(_) => Err(Error::Failed.into()),
    }
}

/// The file, its length and its media type by its first bytes.
fn open(path: &FilePath) -> std::io::Result<(std::fs::File, u64, &'static str)> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = Vec::with_capacity(3);
    file.by_ref().take(3).read_to_end(&mut start)?;
    file.rewind()?;
    let media_type = if start == [0xff, 0xd8, 0xff] { "image/jpeg" } else { "image/png" };
    Ok((file, length, media_type))
}
