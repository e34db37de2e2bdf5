use base64::Engine as _;
use minijinja::Value;

/// How an image's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
}

/// An encoded image; it goes into the page as a data URI, so keep it small (640 pixels wide is plenty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// How the bytes are encoded.
    pub media_type: MediaType,
    /// The encoded bytes.
    pub bytes: Vec<u8>,
}

impl Image {
    /// The one value that is not escaped, as it cannot hold anything else than a fixed media type and the letters of base64:
    /// escaping would turn each `/` into six characters.
    pub(crate) fn data_uri(&self) -> Value {
        let media_type = match self.media_type {
            MediaType::Jpeg => "image/jpeg",
            MediaType::Png => "image/png",
        };
        let bytes = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        Value::from_safe_string(format!("data:{media_type};base64,{bytes}"))
    }
}
