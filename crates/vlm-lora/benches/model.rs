//! Steps, merging and scoring at the widths of SmolVLM-500M with an eighth of its layers, so that a run takes minutes: 2 of 12
//! vision layers and 4 of 32 text layers. The whole model is timed by the example `step` and by `benches/peer`.
//!
//! Throughput is in tokens a second (criterion's `elem/s`), images' tokens included.

#[path = "../examples/step/random.rs"]
mod random;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vlm_lora::backend::{BaseDtype, Cpu, CpuOptions};
use vlm_lora::{
    Checkpoint, ChoiceAnswer, ChoiceTokens, Item, LoraConfig, Model, Sample, Scorer, StepMode, Target, Tiles,
    merge,
};

const CONFIG: &str = r#"{
  "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4, "tie_word_embeddings": false,
  "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2, "num_attention_heads": 12,
                    "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
  "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                  "num_hidden_layers": 4, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                  "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192}
}"#;
const DECK: usize = 20;

fn model(checkpoint: &Checkpoint, base: BaseDtype) -> Model<Cpu<f32>> {
    let backend =
        Cpu::with_options(CpuOptions { base, ..CpuOptions::default() }).expect("every base can be computed");
    let mut model = Model::load(Arc::new(backend), checkpoint).expect("the checkpoint is whole");
    model.attach(&LoraConfig::default(), checkpoint, 0).expect("the modules are there");
    model
}

/// A slide of one tile with a prompt of 110 tokens and an answer of 40.
fn sample() -> Sample {
    let mut input_ids = vec![1];
    input_ids.extend([49190; 64]);
    input_ids.extend(100..250);
    let target = |position: usize| Target { position, tokens: vec![(input_ids[position], 1.0)], weight: 1.0 };
    let targets = (175..input_ids.len()).map(target).collect();
    let tiles = Arc::new(Tiles { rows: 0, cols: 0, side: 512, data: vec![100; 512 * 512 * 3] });
    Sample { input_ids, tiles, targets }
}

/// Five criteria with five scores each.
fn answer() -> ChoiceTokens {
    let names = ["Clarity", "Design", "Data visualization", "Readability", "Content quality"];
    let id = |piece: &str| 300 + piece.bytes().fold(0, |hash, byte| (hash * 31 + u32::from(byte)) % 4000);
    let answer = ChoiceAnswer::lines(&names, &["1", "2", "3", "4", "5"]).expect("names and choices differ");
    let pieces = |text: &str| Ok(text.split_inclusive([' ', ':', '\n']).map(id).collect());
    answer.tokens(&[true; 5], pieces).expect("every choice is a token")
}

fn benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the weights");
    random::write_checkpoint(dir.path(), CONFIG).expect("the weights can be written");
    let checkpoint = Checkpoint::open(dir.path()).expect("they were just written");
    let (sample, tokens) = (sample(), answer());
    let question =
        Sample { input_ids: sample.input_ids[..175].to_vec(), targets: Vec::new(), ..sample.clone() };
    let mut group = c.benchmark_group("model");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for base in [BaseDtype::Full, BaseDtype::Bf16, BaseDtype::Int8] {
        let mut model = model(&checkpoint, base);
        let name = format!("{base:?}");
        let features = model.image_features(&[&sample.tiles]).expect("the tile fits");
        for (what, features) in [("step", None), ("step, cached image", Some(&features[0]))] {
            let items = [Item { sample: &sample, features }];
            group.throughput(Throughput::Elements(sample.input_ids.len() as u64));
            group.bench_function(BenchmarkId::new(what, &name), |b| {
                b.iter(|| {
                    model.loss_and_gradients(&items, 40.0, StepMode::default()).expect("the sample fits")
                });
            });
        }
        let scorer = Scorer::new(&model, &tokens);
        for slides in [1, DECK] {
            let items = vec![Item { sample: &question, features: None }; slides];
            group.throughput(Throughput::Elements((slides * question.input_ids.len()) as u64));
            group.bench_function(BenchmarkId::new(format!("score {slides}"), &name), |b| {
                b.iter(|| scorer.score(&items).expect("the slide fits"));
            });
        }
    }
    let adapter = model(&checkpoint, BaseDtype::Full).adapter().expect("it was attached");
    let parameters =
        checkpoint.config().tensors().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    group.throughput(Throughput::Elements(parameters));
    group.bench_function("merge", |b| {
        let empty = || tempfile::tempdir_in(dir.path()).expect("a folder for the result");
        let into = |out: tempfile::TempDir| {
            merge(&checkpoint, &adapter, out.path()).expect("there is room");
            out
        };
        b.iter_batched(empty, into, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
