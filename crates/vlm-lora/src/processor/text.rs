use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use tokenizers::Tokenizer;

use super::template::{ChatTemplate, Content, Message};
use crate::files::{invalid_file, read_bytes};
use crate::{Error, Result};

const IMAGE: &str = "<image>";
const FAKE: &str = "<fake_token_around_image>";
const GLOBAL: &str = "<global-img>";
const END: &str = "<end_of_utterance>";
const WHAT: &str = "tokenizer";

/// The ids of a conversation about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Ids of prompt and answer; one image token per feature row.
    pub input_ids: Vec<u32>,
    /// How many of them are the prompt, up to the colon that opens the answer.
    pub prompt_tokens: usize,
    /// Where the answer ends: the position after its `<end_of_utterance>`; equal to `prompt_tokens` without an answer.
    pub answer_end: usize,
    /// The answer's own tokens with the byte ranges that they cover in it; a leading space of the template's counts as
    /// outside.
    spans: Vec<(usize, Range<usize>)>,
}

impl Encoded {
    /// The positions of the answer with the token that ends it.
    pub fn answer(&self) -> Range<usize> {
        self.prompt_tokens..self.answer_end
    }

    /// The position in `input_ids` of the token that is exactly this byte range of the answer, as a score's digit is.
    ///
    /// # Errors
    /// When the range is not exactly one token.
    pub fn position_of(&self, span: Range<usize>) -> Result<usize> {
        let found = self.spans.iter().find(|(_, covered)| *covered == span).map(|(position, _)| *position);
        found.ok_or_else(|| Error::Text {
            reason: format!("bytes {} to {} of the answer are not one token", span.start, span.end),
        })
    }
}

fn failed(reason: &str) -> Error {
    Error::Text { reason: reason.to_owned() }
}

/// The parts of the answer that tokens stand for; the answer begins at byte `start` of the text.
fn spans(
    encoding: &tokenizers::Encoding,
    positions: Range<usize>,
    start: usize,
) -> Vec<(usize, Range<usize>)> {
    let offsets = encoding.get_offsets();
    let spans = positions.filter_map(|position| {
        let (from, to) = offsets[position];
        Some((position, from.checked_sub(start)?..to.checked_sub(start)?))
    });
    spans.collect()
}

/// The library unwraps nested parses, so a garbled file can make it panic; that must not reach the caller.
fn parse(path: &Path) -> Result<Tokenizer> {
    let bytes = read_bytes(path, WHAT)?;
    serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|error| invalid_file(path, WHAT, error))?;
    std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes))
        .map_err(|_| invalid_file(path, WHAT, "the tokenizers library cannot make sense of it"))?
        .map_err(|error| invalid_file(path, WHAT, error))
}

/// Tokenizer and template of a checkpoint.
pub(super) struct Text {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    specials: Vec<String>,
    image_seq_len: usize,
    pub(super) image_token_id: u32,
    pub(super) eos_token_id: u32,
}

impl Text {
    pub(super) fn open(dir: &Path, template: ChatTemplate, image_seq_len: usize) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let mut tokenizer = parse(&path)?;
        // Truncation would cut image tokens, padding is not used: samples are packed.
        tokenizer.with_truncation(None).map_err(|error| invalid_file(&path, WHAT, error))?;
        tokenizer.with_padding(None);
        let special = |name: &str| {
            tokenizer.token_to_id(name).ok_or_else(|| invalid_file(&path, WHAT, format!("no token `{name}`")))
        };
        let (image_token_id, eos_token_id) = (special(IMAGE)?, special(END)?);
        special(FAKE)?;
        special(GLOBAL)?;
        let added = tokenizer.get_added_tokens_decoder();
        let mut specials: Vec<String> =
            added.into_values().filter(|token| token.special).map(|token| token.content).collect();
        specials.sort();
        Ok(Self { tokenizer, template, specials, image_seq_len, image_token_id, eos_token_id })
    }

    pub(super) fn render(&self, prompt: &str, answer: Option<&str>) -> Result<String> {
        self.refuse_specials("prompt", prompt)?;
        self.refuse_specials("answer", answer.unwrap_or_default())?;
        let content = vec![Content::Image, Content::Text { text: prompt }];
        let mut messages = vec![Message { role: "user", content }];
        if let Some(text) = answer {
            messages.push(Message { role: "assistant", content: vec![Content::Text { text }] });
        }
        let rendered = self.template.render(&messages, answer.is_none())?;
        match rendered.matches(IMAGE).count() {
            1 => Ok(rendered),
            count => Err(Error::Text { reason: format!("the chat template gives {count} images for one") }),
        }
    }

    /// Text that holds a special token would become that token, and a reader could end or open turns at will.
    fn refuse_specials(&self, what: &str, text: &str) -> Result<()> {
        match self.specials.iter().find(|special| text.contains(special.as_str())) {
            Some(special) => {
                Err(Error::Text { reason: format!("the {what} holds the special token `{special}`") })
            }
            None => Ok(()),
        }
    }

    pub(super) fn encode(&self, grid: (usize, usize), prompt: &str, answer: Option<&str>) -> Result<Encoded> {
        let placeholder = self.placeholder(grid)?;
        let opened = self.render(prompt, None)?.replacen(IMAGE, &placeholder, 1);
        let prompt_ids = self.ids(&opened)?;
        let prompt_tokens = prompt_ids.get_ids().len();
        let Some(answer) = answer else {
            let input_ids = prompt_ids.get_ids().to_vec();
            return Ok(Encoded { input_ids, prompt_tokens, answer_end: prompt_tokens, spans: Vec::new() });
        };
        let whole = self.render(prompt, Some(answer))?.replacen(IMAGE, &placeholder, 1);
        let encoding = self.ids(&whole)?;
        let ids = encoding.get_ids();
        if !ids.starts_with(prompt_ids.get_ids()) || !whole.starts_with(&opened) {
            return Err(failed(
                "the conversation does not start with the prompt, so the answer has no clear start",
            ));
        }
        let end = ids[prompt_tokens..].iter().position(|id| *id == self.eos_token_id);
        let answer_end =
            prompt_tokens + end.ok_or_else(|| failed("the chat template does not end the answer"))? + 1;
        let start = whole[opened.len()..].find(answer).map(|at| opened.len() + at);
        let start = start.ok_or_else(|| failed("the chat template changes the answer"))?;
        let spans = spans(&encoding, prompt_tokens..answer_end - 1, start);
        Ok(Encoded { spans, input_ids: ids.to_vec(), prompt_tokens, answer_end })
    }

    fn ids(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.tokenizer.encode(text, true).map_err(|error| Error::Text { reason: error.to_string() })
    }

    /// What one `<image>` stands for: the tiles row by row with their markers, a newline after each row, then the global view.
    fn placeholder(&self, (rows, cols): (usize, usize)) -> Result<String> {
        let images = IMAGE.repeat(self.image_seq_len);
        let mut text = String::with_capacity((rows * cols + 1) * (images.len() + 48));
        for (row, col) in (1..=rows).flat_map(|row| (1..=cols).map(move |col| (row, col))) {
            let marker = format!("<row_{row}_col_{col}>");
            if self.tokenizer.token_to_id(&marker).is_none() {
                return Err(Error::Text { reason: format!("the tokenizer has no token `{marker}`") });
            }
            let _ = write!(text, "{FAKE}{marker}{images}");
            if col == cols {
                text.push('\n');
            }
        }
        if rows > 0 {
            text.push('\n');
        }
        let _ = write!(text, "{FAKE}{GLOBAL}{images}{FAKE}");
        Ok(text)
    }

    pub(super) fn token_id(&self, text: &str) -> Result<u32> {
        let encoding =
            self.tokenizer.encode(text, false).map_err(|error| Error::Text { reason: error.to_string() })?;
        match encoding.get_ids() {
            [id] => Ok(*id),
            ids => Err(Error::Text { reason: format!("`{text}` is {} tokens, not one", ids.len()) }),
        }
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.tokenizer.decode(ids, skip_special).map_err(|error| Error::Text { reason: error.to_string() })
    }
}
