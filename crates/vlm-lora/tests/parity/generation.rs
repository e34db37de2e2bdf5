//! Greedy text and the probabilities of scores.

use std::sync::Arc;

use serde_json::Value;
use vlm_lora::backend::Backend;
use vlm_lora::{
    ChoiceAnswer, Generation, Item, Model, Processor, Prompt, Sample, Scorer, choice_probabilities, generate,
};

use crate::case::{Case, Report, cases, numbers, on_device};

/// Kernels may sum in another order for another number of rows; this is what that can change in f32.
const ROUNDING: f64 = 5e-6;

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

fn adapted<B: Backend>(case: &Case, backend: &Arc<B>) -> (Model<B>, Processor) {
    let mut model = case.model(backend);
    model.attach_adapter(&case.adapter("adapter")).unwrap();
    (model, Processor::open(case.dir.join("model"), None).unwrap())
}

/// The samples without their answers.
fn questions(case: &Case) -> Vec<Sample> {
    let question = |(slide, sample): (&Value, &Sample)| {
        let prompt = slide["prompt_tokens"].as_u64().unwrap() as usize;
        let input_ids = sample.input_ids[..prompt].to_vec();
        Sample { input_ids, tiles: sample.tiles.clone(), targets: Vec::new() }
    };
    case.slides().iter().zip(&case.samples).map(question).collect()
}

fn prompts(samples: &[Sample]) -> Vec<Prompt<'_>> {
    samples
        .iter()
        .map(|sample| Prompt { input_ids: &sample.input_ids, tiles: Some(&sample.tiles), features: None })
        .collect()
}

#[test]
fn greedy_text_equals_the_reference_alone_and_in_a_batch() {
    on_device!(check_greedy);
}

fn check_greedy<B: Backend>(backend: &Arc<B>) {
    for dir in cases() {
        let case = Case::open(&dir);
        let ((model, processor), questions) = (adapted(&case, backend), questions(&case));
        let prompts = prompts(&questions);
        let limits = Generation { eos_token_id: processor.eos_token_id(), max_new_tokens: 24 };
        let together = generate(&model, &prompts, limits).unwrap();
        for ((slide, prompt), together) in case.slides().iter().zip(&prompts).zip(together) {
            assert_eq!(together, ids(&slide["greedy_ids"]), "{} {}", case.name, slide["image"]);
            assert_eq!(generate(&model, &[*prompt], limits).unwrap(), [together]);
        }
    }
}

#[test]
fn a_sequence_ends_with_the_token_that_ends_it_and_leaves_the_others_going() {
    on_device!(check_ends);
}

fn check_ends<B: Backend>(backend: &Arc<B>) {
    let case = Case::open(&cases()[0]);
    let ((model, _), questions) = (adapted(&case, backend), questions(&case));
    let prompts = prompts(&questions[..3]);
    let full: Vec<Vec<u32>> = case.slides()[..3].iter().map(|slide| ids(&slide["greedy_ids"])).collect();
    let eos_token_id = full[1][5];
    let generated = generate(&model, &prompts, Generation { eos_token_id, max_new_tokens: 12 }).unwrap();
    for (generated, full) in generated.iter().zip(&full) {
        let end = full.iter().position(|id| *id == eos_token_id).map_or(12, |at| (at + 1).min(12));
        assert_eq!(generated, &full[..end]);
    }
}

#[test]
fn digit_probabilities_equal_the_reference() {
    on_device!(check_digits);
}

fn check_digits<B: Backend>(backend: &Arc<B>) {
    let mut failures = Vec::new();
    for dir in cases() {
        let case = Case::open(&dir);
        let ((model, _), mut report) = (adapted(&case, backend), Report::new(&case));
        for (slide, sample) in case.slides().iter().zip(&case.samples) {
            let positions = numbers(&slide["rating_positions"]);
            let choices = vec![ids(&case.expected["digit_token_ids"]); positions.len()];
            let item = Item { sample, features: None };
            let actual = choice_probabilities(&model, item, &positions, &choices).unwrap();
            let expected = slide["digit_probs"].as_array().unwrap();
            assert_eq!(actual.len(), expected.len());
            let expected = expected.iter().flat_map(|slot| slot.as_array().unwrap());
            for (actual, expected) in actual.iter().flatten().zip(expected) {
                let deviation = (actual - expected.as_f64().unwrap()).abs();
                report.note("digit probability", deviation, 1e-5, &slide["image"]);
            }
        }
        failures.extend(report.finish());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn scores_from_the_cache_equal_teacher_forcing_in_any_batch_and_with_any_lines() {
    on_device!(check_scores);
}

fn check_scores<B: Backend>(backend: &Arc<B>) {
    let mut failures = Vec::new();
    for dir in cases() {
        let case = Case::open(&dir);
        let mut report = Report::new(&case);
        for asked in [[true; 5], [true, false, true, false, true]] {
            compare_scores(&case, backend, &asked, &mut report);
        }
        failures.extend(report.finish());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn compare_scores<B: Backend>(case: &Case, backend: &Arc<B>, asked: &[bool], report: &mut Report) {
    let ((model, processor), questions) = (adapted(case, backend), questions(case));
    let names = case.expected["criteria"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let answer = ChoiceAnswer::lines(&names.collect::<Vec<_>>(), &["1", "2", "3", "4", "5"]).unwrap();
    let tokens = answer.tokens(asked, |text| processor.answer_ids(text)).unwrap();
    let digits = ids(&case.expected["digit_token_ids"]);
    assert!(tokens.choices().iter().all(|choices| *choices == digits));

    let items: Vec<Item<'_>> = questions.iter().map(|sample| Item { sample, features: None }).collect();
    let scorer = Scorer::new(&model, &tokens);
    let together = scorer.score(&items).unwrap();
    let prompt = case.expected["prompt"].as_str().unwrap();
    for ((question, item), scores) in questions.iter().zip(&items).zip(&together) {
        let alone = &scorer.score(&[*item]).unwrap()[0];
        for (alone, together) in alone.iter().flatten().zip(scores.iter().flatten()) {
            report.note("score alone and in a batch", (alone - together).abs(), ROUNDING, &"");
        }
        let mut picked = scores.iter().map(|slot| most_probable(slot));
        let picks: Vec<_> = asked.iter().map(|asked| if *asked { picked.next() } else { None }).collect();
        let sample = processor.sample(&question.tiles, prompt, Some(&answer.text(&picks))).unwrap();
        let start = sample.targets[0].position;
        let positions: Vec<usize> = tokens.positions().iter().map(|position| start + position).collect();
        let item = Item { sample: &sample, features: None };
        let forced = choice_probabilities(&model, item, &positions, tokens.choices()).unwrap();
        for (actual, forced) in scores.iter().flatten().zip(forced.iter().flatten()) {
            report.note("score and teacher forcing", (actual - forced).abs(), ROUNDING, &"");
        }
    }
}

fn most_probable(slot: &[f64]) -> usize {
    let mut choices: Vec<usize> = (0..slot.len()).collect();
    choices.sort_by(|a, b| slot[*b].total_cmp(&slot[*a]));
    choices[0]
}
