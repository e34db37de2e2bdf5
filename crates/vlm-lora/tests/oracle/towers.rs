//! Image features and logits against SigLIP, Idefics3's connector and Llama of candle.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, IndexOp as _, Module as _, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, siglip};
use pq_testing::max_difference;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, Item, Model, ModelConfig, Sample};

use crate::geometry::{Dice, config, sample, write_checkpoint};

/// The rows of an image in the text model `(image tokens, width)`: SigLIP without its head, pixel shuffle, projection.
fn features(config: &ModelConfig, weights: &VarBuilder<'_>, pixels: &Tensor) -> candle_core::Result<Tensor> {
    let v = &config.vision;
    let geometry = siglip::VisionConfig {
        hidden_size: v.hidden_size,
        intermediate_size: v.intermediate_size,
        num_hidden_layers: v.num_hidden_layers,
        num_attention_heads: v.num_attention_heads,
        num_channels: 3,
        image_size: v.image_size,
        patch_size: v.patch_size,
        hidden_act: Activation::GeluPytorchTanh,
        layer_norm_eps: v.layer_norm_eps,
    };
    let tower = siglip::VisionModel::new(&geometry, false, weights.pp("model.vision_model"))?;
    let hidden = tower.forward(pixels)?;
    let (tiles, _, width) = hidden.dims3()?;
    let (grid, s) = (v.grid(), config.scale_factor);
    let shuffled = hidden
        .reshape((tiles, grid, grid / s, width * s))?
        .permute((0, 2, 1, 3))?
        .reshape((tiles, grid / s, grid / s, width * s * s))?
        .permute((0, 2, 1, 3))?
        .reshape((tiles * (grid / s) * (grid / s), width * s * s))?;
    let shape = (config.text.hidden_size, width * s * s);
    shuffled.matmul(&weights.get(shape, "model.connector.modality_projection.proj.weight")?.t()?)
}

/// The text model, and what it is called with.
fn text_model(
    config: &ModelConfig,
    weights: VarBuilder<'_>,
) -> candle_core::Result<(llama::Llama, llama::Cache)> {
    let t = &config.text;
    let geometry = llama::Config {
        hidden_size: t.hidden_size,
        intermediate_size: t.intermediate_size,
        vocab_size: t.vocab_size,
        num_hidden_layers: t.num_hidden_layers,
        num_attention_heads: t.num_attention_heads,
        num_key_value_heads: t.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: t.rms_norm_eps,
        rope_theta: t.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: 512,
        tie_word_embeddings: config.tie_word_embeddings,
    };
    let weights = weights.rename_f(|name| name.replacen("model.", "model.text_model.", 1));
    Ok((
        llama::Llama::load(weights, &geometry)?,
        llama::Cache::new(false, DType::F32, &geometry, &Device::Cpu)?,
    ))
}

/// Image features, and the logits of these rows, as candle computes them.
fn oracle(
    dir: &Path,
    config: &ModelConfig,
    sample: &Sample,
    rows: &[usize],
) -> candle_core::Result<[Vec<f32>; 2]> {
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu)?;
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let pixels = sample.tiles.to_tensor(&Device::Cpu).unwrap();
    let features = features(config, &weights, &pixels)?;
    let (text, mut cache) = text_model(config, weights)?;
    let ids = &sample.input_ids;
    let first = ids.iter().position(|id| *id == config.image_token_id).unwrap();
    let words = text.embed(&Tensor::new(ids.as_slice(), &Device::Cpu)?)?;
    let after = first + features.dim(0)?;
    let parts = [words.i(..first)?, features.clone(), words.i(after..)?];
    let x = Tensor::cat(&parts, 0)?.unsqueeze(0)?;
    let mut logits = Vec::new();
    for &row in rows {
        logits.extend(
            text.forward_input_embed(&x.i((.., ..=row, ..))?, 0, &mut cache)?
                .flatten_all()?
                .to_vec1::<f32>()?,
        );
    }
    Ok([features.flatten_all()?.to_vec1()?, logits])
}

/// The largest differences of features and logits.
fn differences(dir: &Path, sample: &Sample, rows: &[usize]) -> [f64; 2] {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
    let features = model.image_features(&[&sample.tiles]).unwrap().remove(0);
    let logits = model.logits(Item { sample, features: None }, rows).unwrap();
    let [their_features, their_logits] = oracle(dir, checkpoint.config(), sample, rows).unwrap();
    let given = vlm_lora::Features::from_tensor(&features.to_tensor(&Device::Cpu).unwrap()).unwrap();
    assert_eq!(given, features);
    let from_given = model.logits(Item { sample, features: Some(&given) }, rows).unwrap();
    assert!(max_difference(&from_given, &logits) < 1e-5, "features from a tensor give the same logits");
    [max_difference(features.values.iter(), &their_features), max_difference(&logits, &their_logits)]
}

#[test]
fn fifty_random_geometries_agree_with_candle_transformers() {
    let mut largest = [0.0_f64; 2];
    for seed in 0..50 {
        let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice::new(seed));
        let drawn = config(&mut dice);
        write_checkpoint(dir.path(), &drawn, &mut dice);
        let geometry = ModelConfig::open(dir.path()).unwrap();
        let sample = sample(&geometry, &mut dice);
        let last = sample.input_ids.len() - 1;
        let found = differences(dir.path(), &sample, &[0, 2, last / 2, last - 3, last]);
        assert!(found.iter().all(|difference| *difference < 1e-4), "{found:?} with seed {seed}: {drawn}");
        largest = [largest[0].max(found[0]), largest[1].max(found[1])];
    }
    println!("largest differences of features and logits: {largest:?}");
}

#[test]
#[ignore = "needs VLM_CHECKPOINT, the folder of the released checkpoint in one file"]
fn the_released_checkpoint_agrees_with_candle_transformers() {
    let dir = std::env::var_os("VLM_CHECKPOINT").expect("VLM_CHECKPOINT names a folder");
    let geometry = ModelConfig::open(dir.as_ref()).unwrap();
    let sample = sample(&geometry, &mut Dice::new(1));
    let last = sample.input_ids.len() - 1;
    let found = differences(dir.as_ref(), &sample, &[0, last]);
    println!("differences of features and logits: {found:?}");
    assert!(found.iter().all(|difference| *difference < 1e-3), "{found:?}");
}
