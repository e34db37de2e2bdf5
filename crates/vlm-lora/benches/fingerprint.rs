//! The name of a checkpoint of 1 GB: read whole from the system's memory of files, and remembered.

#[path = "../examples/step/random.rs"]
mod random;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vlm_lora::{Checkpoint, FingerprintCache};

/// SmolVLM-500M.
const CONFIG: &str = r#"{
  "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4, "tie_word_embeddings": false,
  "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                    "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
  "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                  "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                  "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192}
}"#;

fn benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the weights");
    random::write_checkpoint(dir.path(), CONFIG).expect("the weights can be written");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-smolvlm");
    for name in ["chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(name), dir.path().join(name)).expect("the processor's files are there");
    }
    std::thread::sleep(Duration::from_secs(3)); // files that just changed are not remembered
    let open = || Checkpoint::open(dir.path()).expect("it was just written");
    let bytes = std::fs::metadata(dir.path().join("model.safetensors")).expect("it was just written").len();

    let mut group = c.benchmark_group("fingerprint");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("read", |b| b.iter(|| open().fingerprint()));
    let cache = FingerprintCache::in_folder(dir.path().join("cache"));
    cache.checkpoint(&open()).expect("the processor's files are whole");
    group.bench_function("remembered", |b| b.iter(|| cache.checkpoint(&open())));
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
