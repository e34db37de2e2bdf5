//! Reading a sequence in parts gives what reading it at once gives.

use super::fixture::{EVERYTHING, adapter, checkpoint, exact, sample};
use crate::Sample;
use crate::backend::Cpu;
use crate::model::{Item, Model, Prompt};

fn prompt(sample: &Sample, len: usize) -> Prompt<'_> {
    Prompt { input_ids: &sample.input_ids[..len], tiles: Some(&sample.tiles), features: None }
}

fn at_once(model: &Model<Cpu<f64>>, sample: &Sample, row: usize) -> Vec<f32> {
    model.logits(Item { sample, features: None }, &[row]).unwrap()
}

fn assert_close(a: &[f32], b: &[f32]) {
    pq_testing::assert_close(a, b, 1e-6);
}

fn tiny() -> Model<Cpu<f64>> {
    let checkpoint = checkpoint(false);
    exact(&checkpoint, &adapter(&checkpoint, &EVERYTHING, false, 0.0))
}

#[test]
fn continuing_equals_reading_at_once() {
    let (model, samples) = (tiny(), [sample(1), sample(2)]);
    let cut = samples.each_ref().map(|sample| sample.input_ids.len() - 3);
    let prompts = [prompt(&samples[0], cut[0]), prompt(&samples[1], cut[1])];
    let (mut cache, logits) = model.prefill(&prompts).unwrap();
    for (index, sample) in samples.iter().enumerate() {
        assert_close(&logits[index], &at_once(&model, sample, cut[index] - 1));
        assert_eq!(cache.tokens(index), cut[index]);
    }
    let next = [&samples[0].input_ids[cut[0]..=cut[0]], &samples[1].input_ids[cut[1]..cut[1] + 2]];
    let logits = model.extend(&mut cache, &next).unwrap();
    assert_close(&logits[0], &at_once(&model, &samples[0], cut[0]));
    assert_close(&logits[1], &at_once(&model, &samples[1], cut[1] + 1));
    let next = [&samples[0].input_ids[cut[0] + 1..], &samples[1].input_ids[cut[1] + 2..]];
    let logits = model.extend(&mut cache, &next).unwrap();
    assert_close(&logits[0], &at_once(&model, &samples[0], cut[0] + 2));
    assert_close(&logits[1], &at_once(&model, &samples[1], cut[1] + 2));
}

#[test]
fn a_prefix_is_shared_and_cut() {
    let (model, sample) = (tiny(), sample(3));
    let cut = sample.input_ids.len() - 2;
    let (cache, first) = model.prefill(&[prompt(&sample, cut)]).unwrap();
    let mut fork = cache.select(&[0, 0, 0]).unwrap();
    let tail = &sample.input_ids[cut..];
    let logits = model.extend(&mut fork, &[&[4, 5], tail, &[6]]).unwrap();
    assert_close(&logits[1], &at_once(&model, &sample, cut + 1));
    let mut alone = cache.clone();
    assert_close(&logits[2], &model.extend(&mut alone, &[&[6]]).unwrap()[0]);
    let mut cut_back = fork.select(&[2, 1]).unwrap();
    cut_back.truncate(0, cut);
    cut_back.truncate(1, cut - 1);
    assert_eq!((cut_back.sequences(), cut_back.tokens(0), cut_back.tokens(1)), (2, cut, cut - 1));
    let logits = model.extend(&mut cut_back, &[&[6], &sample.input_ids[cut - 1..cut]]).unwrap();
    assert_close(&logits[0], &model.extend(&mut cache.clone(), &[&[6]]).unwrap()[0]);
    assert_close(&logits[1], &first[0]);
}

#[test]
fn wrong_continuations_are_refused() {
    let (model, sample) = (tiny(), sample(1));
    let (mut cache, _) = model.prefill(&[prompt(&sample, 7)]).unwrap();
    assert!(model.extend(&mut cache, &[]).is_err());
    assert!(model.extend(&mut cache, &[&[]]).is_err());
    assert!(
        model.extend(&mut cache.clone(), &[&[super::fixture::IMAGE]]).is_ok(),
        "a generated image token is a token"
    );
    assert!(model.extend(&mut cache, &[&[20]]).is_err());
    assert!(cache.select(&[1]).is_err());
    assert!(model.prefill(&[Prompt { tiles: None, ..prompt(&sample, 7) }]).is_err());
    assert!(model.prefill(&[]).unwrap().1.is_empty());
    assert_eq!(cache.tokens(0), 7);
}

/// Beyond `max_position_embeddings` the angles were never seen in training: an answer would be wrong without a word.
#[test]
fn a_sequence_longer_than_the_model_was_made_for_is_refused() {
    let checkpoint = checkpoint(false);
    let model = exact(&checkpoint, &adapter(&checkpoint, &["q_proj"], false, 0.0));
    let longest = model.config().text.max_position_embeddings;
    let text = |tokens: usize| vec![1_u32; tokens];
    let (fits, too_long) = (text(longest - 1), text(longest + 1));
    let of = |input_ids: &[u32]| -> Result<_, String> {
        let prompt = Prompt { input_ids, tiles: None, features: None };
        model.prefill(&[prompt]).map_err(|error| error.to_string())
    };
    let error = of(&too_long).err().unwrap();
    assert!(error.contains("2049 tokens") && error.contains("max_position_embeddings"), "{error}");
    let (mut cache, _) = of(&fits).unwrap();
    model.extend(&mut cache, &[&[1]]).unwrap();
    assert!(model.extend(&mut cache, &[&[1]]).is_err());
}
