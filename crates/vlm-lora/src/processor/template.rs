//! The chat template of a checkpoint, rendered with the conventions of transformers' `apply_chat_template`.

use std::path::Path;

use minijinja::value::{Kwargs, Value as Dynamic};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::{Map, Value};

use crate::files::{invalid_file, read_bytes, read_json_object_if_present};
use crate::{Error, Result};

const WHAT: &str = "chat template";
const NAME: &str = "chat_template";

/// Instructions that one rendering may take; a template that loops without end is stopped.
const FUEL: u64 = 1_000_000;

/// A compiled template and the special tokens that it may name.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Value>,
}

/// One message of a conversation.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'a str,
    pub(super) content: Vec<Content<'a>>,
}

/// One item of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content<'a> {
    Image,
    Text { text: &'a str },
}

impl ChatTemplate {
    /// Takes the template from `chat_template.jinja`, `chat_template.json`, `processor_config.json` or
    /// `tokenizer_config.json`, in this order.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let (source, special_tokens) = Self::read(dir)?;
        Self::compile(&source, special_tokens, dir)
    }

    /// The template that is in force, and the special tokens that it may name.
    pub(super) fn read(dir: &Path) -> Result<(String, Map<String, Value>)> {
        let tokenizer = dir.join("tokenizer_config.json");
        let tokenizer =
            read_json_object_if_present(&tokenizer, "tokenizer configuration")?.unwrap_or_default();
        let special_tokens =
            ["bos_token", "eos_token", "pad_token", "unk_token"].into_iter().filter_map(|key| {
                let value = tokenizer.get(key)?;
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((key.to_owned(), Value::from(text)))
            });
        let special_tokens = special_tokens.collect();
        Ok((source(dir, &tokenizer)?, special_tokens))
    }

    pub(super) fn compile(source: &str, special_tokens: Map<String, Value>, dir: &Path) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(64);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| invalid_file(&dir.join(NAME), WHAT, error))?;
        Ok(Self { environment, special_tokens })
    }

    pub(super) fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        let special = Dynamic::from_serialize(&self.special_tokens);
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(context! { messages, add_generation_prompt, ..special }));
        rendered.map_err(|error| Error::Text { reason: format!("the chat template fails: {error}") })
    }
}

fn source(dir: &Path, tokenizer: &Map<String, Value>) -> Result<String> {
    let jinja = dir.join("chat_template.jinja");
    match read_bytes(&jinja, WHAT) {
        Ok(bytes) => return String::from_utf8(bytes).map_err(|error| invalid_file(&jinja, WHAT, error)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for name in ["chat_template.json", "processor_config.json"] {
        let content = read_json_object_if_present(&dir.join(name), WHAT)?.unwrap_or_default();
        if let Some(text) = content.get(NAME).and_then(Value::as_str) {
            return Ok(text.to_owned());
        }
    }
    let found = tokenizer.get(NAME).and_then(in_tokenizer);
    found.ok_or_else(|| invalid_file(&jinja, WHAT, "no file of the checkpoint holds one"))
}

/// The template that `tokenizer_config.json` holds: a text, or the one of several that is called `default`.
fn in_tokenizer(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let is_default = |item: &&Value| item.get("name").and_then(Value::as_str) == Some("default");
            let template = items.iter().find(is_default)?.get("template")?;
            template.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`, which unlike Jinja's own filter escapes no markup.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over its keyword arguments")]
fn to_json(value: &Dynamic, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonFormatter)),
    };
    let failed = |error: String| minijinja::Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// Python puts a space after `,` and `:`.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message<'_>], open: bool) -> Result<String> {
        ChatTemplate::compile(source, Map::new(), Path::new("."))?.render(messages, open)
    }

    fn user(content: Vec<Content<'_>>) -> Message<'_> {
        Message { role: "user", content }
    }

    /// The released template of SmolVLM.
    const SMOLVLM: &str = "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

    #[test]
    fn the_released_template_renders_as_in_transformers() {
        let text = |text| Content::Text { text };
        let answer = Message { role: "assistant", content: vec![text("A")] };
        let cases = [
            (
                vec![user(vec![Content::Image, text("Q")])],
                false,
                "<|im_start|>User:<image>Q<end_of_utterance>\n",
            ),
            (
                vec![user(vec![Content::Image, text("Q")])],
                true,
                "<|im_start|>User:<image>Q<end_of_utterance>\nAssistant:",
            ),
            (
                vec![user(vec![Content::Image, text("Q")]), answer],
                false,
                "<|im_start|>User:<image>Q<end_of_utterance>\nAssistant: A<end_of_utterance>\n",
            ),
            (
                vec![user(vec![text("Q"), Content::Image])],
                false,
                "<|im_start|>User: Q<image><end_of_utterance>\n",
            ),
            (vec![user(vec![text("Q")])], true, "<|im_start|>User: Q<end_of_utterance>\nAssistant:"),
        ];
        for (messages, open, expected) in cases {
            assert_eq!(render(SMOLVLM, &messages, open).unwrap(), expected);
        }
    }

    #[test]
    fn python_methods_and_json_work() {
        let messages = [user(vec![Content::Text { text: "<a> \"b\" é" }])];
        let source = "{{ messages[0]['role'].capitalize() }}{{ messages[0].role.upper().strip() }}{{ messages[0]['content'] | tojson }}";
        let expected = "UserUSER[{\"type\": \"text\", \"text\": \"<a> \\\"b\\\" é\"}]";
        assert_eq!(render(source, &messages, false).unwrap(), expected);
    }

    #[test]
    fn a_template_that_raises_or_never_ends_is_an_error() {
        let error = render("{{ raise_exception('no system message') }}", &[], false).unwrap_err();
        assert!(error.to_string().contains("no system message"), "{error}");
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(render(endless, &[], false).is_err());
    }
}
