//! Prompts, ids, tiles, checkpoints and adapter files.

use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;
use serde_json::Value;
use vlm_lora::{Checkpoint, PeftAdapter, Processor, pixel_values};

use super::case::{answer, cases, json, numbers};

#[test]
fn prompts_ids_and_positions_are_those_of_transformers() {
    for dir in cases() {
        let expected = json(&dir.join("expected.json"));
        let processor = Processor::open(dir.join("model"), None).unwrap();
        let prompt = expected["prompt"].as_str().unwrap();
        let digits: Vec<usize> =
            (1..=5).map(|digit| processor.token_id(&digit.to_string()).unwrap() as usize).collect();
        assert_eq!(digits, numbers(&expected["digit_token_ids"]), "{}", dir.display());
        for case in expected["cases"].as_array().unwrap() {
            let context = format!("{} {}", dir.display(), case["image"]);
            let image = image::open(dir.join("images").join(case["image"].as_str().unwrap())).unwrap();
            let tiles = processor.tiles(&image).unwrap();
            assert_eq!(tiles.count() as u64, case["tiles"].as_u64().unwrap(), "{context}");
            assert_eq!(processor.render(prompt, None).unwrap(), case["prompt_text"].as_str().unwrap());
            let answer = answer(&expected, case);
            let whole = processor.render(prompt, Some(&answer)).unwrap();
            assert!(whole.ends_with(case["full_text_tail"].as_str().unwrap()), "{context}: {whole}");

            let encoded = processor.encode(&tiles, prompt, Some(&answer)).unwrap();
            let ids: Vec<usize> = encoded.input_ids.iter().map(|id| *id as usize).collect();
            assert_eq!(ids, numbers(&case["input_ids"]), "{context}");
            assert_eq!(encoded.prompt_tokens as u64, case["prompt_tokens"].as_u64().unwrap(), "{context}");
            let lines = answer.split_inclusive('\n').scan(0, |at, line| {
                *at += line.len();
                Some(*at - usize::from(line.ends_with('\n')))
            });
            let positions: Vec<usize> = lines.map(|end| encoded.position_of(end - 1..end).unwrap()).collect();
            assert_eq!(positions, numbers(&case["rating_positions"]), "{context}");

            let prompt_alone = processor.encode(&tiles, prompt, None).unwrap();
            assert_eq!(prompt_alone.input_ids, encoded.input_ids[..encoded.prompt_tokens]);
            let sample = processor.sample(&Arc::new(tiles), prompt, Some(&answer)).unwrap();
            assert_eq!(sample.targets.first().unwrap().position, encoded.prompt_tokens);
            assert_eq!(sample.targets.last().unwrap().tokens, [(processor.eos_token_id(), 1.0)]);
            assert_eq!(
                processor.answer_ids(&answer).unwrap(),
                encoded.input_ids[encoded.answer()],
                "{context}"
            );
            let text = processor.decode(&encoded.input_ids[encoded.answer()], true).unwrap();
            assert_eq!(text.trim_start(), answer, "{context}");
        }
    }
}

#[test]
fn tiles_are_pillows_to_the_bit() {
    let mut compared = 0;
    for dir in cases() {
        let expected = json(&dir.join("expected.json"));
        let processor = Processor::open(dir.join("model"), None).unwrap();
        let bytes = std::fs::read(dir.join("tensors.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for (index, case) in expected["cases"].as_array().unwrap().iter().enumerate() {
            let Ok(pixels) = tensors.tensor(&format!("{index}.pixels_u8")) else { continue };
            let image = image::open(dir.join("images").join(case["image"].as_str().unwrap())).unwrap();
            let tiles = processor.tiles(&image).unwrap();
            assert_eq!(pixels.shape(), [tiles.count(), 3, tiles.side, tiles.side]);
            // The reference is stored channels first and was rounded back from the normalised values.
            let ours: Vec<u8> =
                pixel_values(&tiles).iter().map(|value| ((value + 1.0) * 127.5).round() as u8).collect();
            let differing = ours.iter().zip(pixels.data()).filter(|(ours, theirs)| ours != theirs).count();
            assert_eq!(differing, 0, "{} {}: of {} bytes", dir.display(), case["image"], ours.len());
            compared += ours.len();
        }
    }
    assert!(compared > 0, "no case stores pixels");
}

#[test]
fn checkpoints_and_adapters_open_and_adapters_survive_a_round_trip() {
    for dir in cases() {
        let checkpoint = Checkpoint::open(dir.join("model")).unwrap();
        for name in ["adapter", "adapter_trained"] {
            let adapter = PeftAdapter::open(dir.join(name), checkpoint.config()).unwrap();
            let copy = tempfile::tempdir().unwrap();
            adapter.save(copy.path()).unwrap();
            assert_eq!(PeftAdapter::open(copy.path(), checkpoint.config()).unwrap(), adapter);

            let theirs = std::fs::read(dir.join(name).join("adapter_model.safetensors")).unwrap();
            let ours = std::fs::read(copy.path().join("adapter_model.safetensors")).unwrap();
            let (theirs, ours) =
                (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
            // peft adds a copy of the frozen head to an adapter on it.
            let is_copy = |name: &str| name.ends_with("lm_head.base_layer.weight");
            let theirs: Vec<_> = theirs.iter().filter(|(name, _)| !is_copy(name)).collect();
            assert_eq!(ours.len(), theirs.len());
            for (name, tensor) in theirs {
                assert_eq!(ours.tensor(name).unwrap(), tensor, "{name}");
            }
            assert_same_config(&dir.join(name), copy.path());
        }
    }
}

/// Every key that PEFT writes is written with the same value; lists that PEFT makes from sets may differ in order.
fn assert_same_config(theirs: &Path, ours: &Path) {
    let [theirs, ours] = [theirs, ours].map(|dir| json(&dir.join("adapter_config.json")));
    let (theirs, ours) = (theirs.as_object().unwrap(), ours.as_object().unwrap());
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (key, value) in theirs {
        let sorted = |value: &Value| {
            let mut items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            items.sort_by_key(Value::to_string);
            items
        };
        assert_eq!(sorted(&ours[key]), sorted(value), "{key}");
    }
}
