//! How it is used: a command, a program in Rust, a program in Python. All three give the same probabilities, but for what a score head
//! adds to those of the command.

use serde_json::json;

use super::Subject;

/// The section. Criteria, prompt, image size and base are the release's own.
pub(super) fn section(subject: &Subject<'_>) -> String {
    let processor = if subject.has_processor() {
        "The repository holds the adapter and the base's processor; the base itself is fetched or given."
    } else {
        "The repository holds the adapter; base and processor are fetched or given."
    };
    let head = if subject.has_head() {
        "The command also reads `score_head.json`, a linear function of what the vision tower sees that tells part of each probability, or all \
         of it; the two programs ask the adapter alone, and say something else."
    } else {
        "All three give the same probabilities."
    };
    format!(
        "## How it is used\n\n{processor} {head}\n\nFrom a shell, in the folder of this version:\n\n```sh\n{}```\n\n\
         From Rust, with the crates `vlm-lora` and `image`:\n\n```rust\n{}```\n\n\
         From Python, with `torch`, `torchvision`, `transformers`, `peft` and `pillow`:\n\n```python\n{}```\n",
        shell(subject),
        rust(subject),
        python(subject)
    )
}

fn shell(subject: &Subject<'_>) -> String {
    let base = if subject.base.is_hub_id {
        String::new()
    } else {
        format!(" --set model.name={}", subject.base.name)
    };
    format!("pq-score --adapter . --no-log{base} slide.png\n")
}

fn prompt(subject: &Subject<'_>) -> String {
    let prompt = subject.settings.get("rubric").and_then(|rubric| rubric.get("prompt")?.as_str());
    prompt.unwrap_or_default().to_owned()
}

/// A text as Rust and Python both read it.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn rust(subject: &Subject<'_>) -> String {
    let names: Vec<String> = subject.criteria().into_iter().map(|(_, name)| quoted(&name)).collect();
    let base = match &subject.base.revision {
        Some(commit) => format!("{} at commit {commit}", subject.base.name),
        None => subject.base.name.clone(),
    };
    let edge = subject.longest_edge().map_or("None".to_owned(), |edge| format!("Some({edge})"));
    format!(
        r#"use std::sync::Arc;
use vlm_lora::backend::Cpu;
use vlm_lora::{{Checkpoint, ChoiceAnswer, Item, Model, PeftAdapter, Processor, Scorer}};

fn main() -> Result<(), Box<dyn std::error::Error>> {{
    let base = std::env::args().nth(1).ok_or("name the folder of the base")?; // {base}
    let slide = std::env::args().nth(2).ok_or("name an image")?;
    let checkpoint = Checkpoint::open(&base)?;
    let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint)?;
    model.attach_adapter(&PeftAdapter::open(".", checkpoint.config())?.on_base(&checkpoint)?)?;
    let processor = Processor::open(&base, {edge})?;

    let criteria = [{names}];
    let answer = ChoiceAnswer::lines(&criteria, &["1", "2", "3", "4", "5"])?;
    let tokens = answer.tokens(&[true; {count}], |text| processor.answer_ids(text))?;
    let tiles = Arc::new(processor.tiles(&image::open(slide)?)?);
    let question = processor.sample(&tiles, {prompt}, None)?;
    let scores = Scorer::new(&model, &tokens).score(&[Item {{ sample: &question, features: None }}])?;
    for (criterion, probabilities) in criteria.iter().zip(&scores[0]) {{
        println!("{{criterion}}: {{probabilities:?}}");
    }}
    Ok(())
}}
"#,
        base = base.replace('\n', " "),
        names = names.join(", "),
        count = names.len(),
        prompt = quoted(&prompt(subject)),
    )
}

/// The lines that import and load the model: by its own name alone where the base lies on the Hub.
fn python_load(subject: &Subject<'_>, revision: &str) -> (&'static str, String) {
    if subject.base.is_hub_id && subject.base.class.is_some() {
        return (
            "from peft import AutoPeftModel\nfrom transformers import AutoProcessor\n",
            format!("model = AutoPeftModel.from_pretrained(repo{revision}, dtype=torch.float32).eval()\n"),
        );
    }
    let commit = subject.base.revision.as_ref().map(|commit| format!(", revision={}", quoted(commit)));
    let commit = commit.unwrap_or_default();
    let note = if subject.base.is_hub_id { "" } else { "  # the folder of the base" };
    (
        "from peft import PeftModel\nfrom transformers import AutoModelForImageTextToText, AutoProcessor\n",
        format!(
            "base = {base}{note}\n\
             model = AutoModelForImageTextToText.from_pretrained(base{commit}, dtype=torch.float32)\n\
             model = PeftModel.from_pretrained(model, repo{revision}).eval()\n",
            base = quoted(&subject.base.name),
        ),
    )
}

fn python(subject: &Subject<'_>) -> String {
    let base = quoted(&subject.base.name);
    let (place, revision) = match &subject.facts.repo {
        Some(repo) => (quoted(repo), format!(", revision={}", quoted(&subject.manifest.version))),
        None => ("\".\"  # the folder of this version".to_owned(), String::new()),
    };
    let (import, load) = python_load(subject, &revision);
    let processor = if subject.has_processor() {
        format!("processor = AutoProcessor.from_pretrained(repo{revision})\n")
    } else {
        format!("processor = AutoProcessor.from_pretrained({base})\n")
    };
    let criteria: Vec<String> = subject
        .criteria()
        .into_iter()
        .map(|(key, name)| format!("    {}: {},\n", quoted(&key), quoted(&name)))
        .collect();
    let edge =
        subject.longest_edge().map_or(String::new(), |edge| format!(", size={{\"longest_edge\": {edge}}}"));
    format!(
        r#"import json
import sys

import torch
from PIL import Image
{import}
repo = {place}
{load}{processor}
prompt = {prompt}
criteria = {{
{criteria}}}


def rate(image):
    """For each criterion the probabilities of 1 to 5, as each line of the answer follows those before it."""
    content = [{{"type": "image"}}, {{"type": "text", "text": prompt}}]
    question = processor.apply_chat_template([{{"role": "user", "content": content}}], add_generation_prompt=True)
    answer, ratings = "", {{}}
    for key, name in criteria.items():
        texts = [f"{{question}} {{answer}}{{name}}: {{score}}" for score in range(1, 6)]
        tokens = [processor.tokenizer(text).input_ids[-1] for text in texts]
        inputs = processor(text=texts[0], images=[image], return_tensors="pt"{edge})
        with torch.inference_mode():
            probabilities = model(**inputs).logits[0, -2, tokens].softmax(-1)
        ratings[key] = probabilities.tolist()
        answer += f"{{name}}: {{int(probabilities.argmax()) + 1}}\n"
    return ratings


for path in sys.argv[1:]:
    print(json.dumps(rate(Image.open(path).convert("RGB"))))
"#,
        prompt = quoted(&prompt(subject)),
        criteria = criteria.concat(),
    )
}
