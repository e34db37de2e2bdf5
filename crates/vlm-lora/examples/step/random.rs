//! Checkpoints of random weights, for measurements.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use vlm_lora::ModelConfig;

/// Writes a checkpoint of bf16 weights with the spread that transformers initialises with; `config` is its `config.json`.
pub(crate) fn write_checkpoint(dir: &Path, config: &str) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("config.json"), config)?;
    let tensors = ModelConfig::open(dir)?.tensors();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
    for (tensor, shape) in &tensors {
        let start = end;
        end += shape.iter().product::<usize>() * 2;
        let entry = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(tensor.clone(), entry);
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut noise = 7_u64;
    for (tensor, shape) in &tensors {
        let mean = f32::from(u8::from(tensor.contains("norm") && tensor.ends_with("weight")));
        let spread = if shape.len() == 1 { 0.0 } else { 0.02 * 3_f32.sqrt() };
        for _ in 0..shape.iter().product() {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (noise >> 40) as f32 / (1 << 23) as f32 - 1.0;
            file.write_all(&(mean + spread * uniform).to_bits().to_le_bytes()[2..])?;
        }
    }
    Ok(file.flush()?)
}
