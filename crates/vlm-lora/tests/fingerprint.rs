//! A checkpoint's name follows its tensors and numbers, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::Noise;
use vlm_lora::{Checkpoint, Fingerprint};

/// A tensor: name, element type, shape, bytes.
type Tensor = (String, String, Vec<usize>, Vec<u8>);

fn read(path: &Path) -> Vec<Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<Tensor> = tensors
        .iter()
        .map(|(name, view)| {
            (name.to_owned(), view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec())
        })
        .collect();
    found.sort();
    found
}

/// Writes the tensors in this order, with metadata and blanks behind the header.
fn write(path: &Path, tensors: &[Tensor], metadata: &str, blanks: usize) {
    let (mut end, mut entries) = (0, vec![format!(r#""__metadata__":{{"made":"{metadata}"}}"#)]);
    for (name, dtype, shape, bytes) in tensors {
        let start = end;
        end += bytes.len();
        entries.push(format!(
            r#""{name}":{{"shape":{shape:?},"dtype":"{dtype}","data_offsets":[{start},{end}]}}"#
        ));
    }
    let mut header = format!("{{{}}}", entries.join(", ")).into_bytes();
    header.resize(header.len().next_multiple_of(8) + 8 * blanks, b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    for tensor in tensors {
        file.extend(&tensor.3);
    }
    std::fs::write(path, file).unwrap();
}

/// Divides the tensors among three shards by a fixed draw.
fn write_sharded(dir: &Path, tensors: &[Tensor]) -> Vec<PathBuf> {
    let (mut shards, mut noise) = (vec![Vec::new(); 3], Noise(5));
    let mut map = BTreeMap::new();
    for tensor in tensors.iter().rev() {
        let shard = noise.below(3) as usize;
        map.insert(tensor.0.clone(), format!("part-{shard}.safetensors"));
        shards[shard].push(tensor.clone());
    }
    for (at, shard) in shards.iter().enumerate() {
        write(&dir.join(format!("part-{at}.safetensors")), shard, "x", at);
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    (0..3).map(|at| dir.join(format!("part-{at}.safetensors"))).collect()
}

fn base() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    common::write_checkpoint(dir.path());
    dir
}

fn name(dir: &Path) -> Fingerprint {
    Checkpoint::open(dir).unwrap().fingerprint()
}

/// A second folder with the configuration of the first.
fn beside(base: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(base.join("config.json"), dir.path().join("config.json")).unwrap();
    dir
}

const FILE: &str = "model.safetensors";

#[test]
fn shards_order_metadata_and_folder_do_not_change_the_name() {
    let base = base();
    let tensors = read(&base.path().join(FILE));
    let backwards: Vec<Tensor> = tensors.iter().rev().cloned().collect();
    for (order, metadata, blanks) in [(&tensors, "here", 0), (&tensors, "there", 7), (&backwards, "", 1)] {
        let other = beside(base.path());
        write(&other.path().join(FILE), order, metadata, blanks);
        assert_eq!(name(other.path()), name(base.path()));
    }
    let sharded = beside(base.path());
    write_sharded(sharded.path(), &tensors);
    assert_eq!(name(sharded.path()), name(base.path()));
}

#[test]
fn one_flipped_bit_of_any_tensor_changes_the_name() {
    let base = base();
    let tensors = read(&base.path().join(FILE));
    let sharded = beside(base.path());
    let shards = write_sharded(sharded.path(), &tensors);
    let expected = name(base.path());
    let mut noise = Noise(2026);
    for round in 0..100 {
        let (dir, path) = if round % 2 == 0 {
            (base.path(), base.path().join(FILE))
        } else {
            (sharded.path(), shards[noise.below(3) as usize].clone())
        };
        let whole = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let at = header + noise.below((whole.len() - header) as u32) as usize;
        let bit = noise.below(8);
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        std::fs::write(&path, &flipped).unwrap();
        assert_ne!(name(dir), expected, "bit {bit} of byte {at} in {}", path.display());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(name(dir), expected);
    }
}

#[test]
fn names_and_element_types_are_a_part_of_the_name() {
    let base = base();
    let tensors = read(&base.path().join(FILE));
    let rewritten = |change: &dyn Fn(&mut Tensor)| {
        let other = beside(base.path());
        let mut tensors = tensors.clone();
        tensors.iter_mut().for_each(change);
        write(&other.path().join(FILE), &tensors, "", 0);
        name(other.path())
    };
    let expected = name(base.path());
    assert_eq!(rewritten(&|_| {}), expected);
    let swapped = rewritten(&|tensor| {
        let (one, two) = ("layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj");
        if tensor.0.contains("text_model") && tensor.0.contains(one) {
            tensor.0 = tensor.0.replace(one, two);
        } else if tensor.0.contains("text_model") && tensor.0.contains(two) {
            tensor.0 = tensor.0.replace(two, one);
        }
    });
    assert_ne!(swapped, expected);
    let halved = |dtype: &'static str| {
        rewritten(&move |tensor| {
            tensor.1 = dtype.to_owned();
            tensor.3.truncate(tensor.3.len() / 2);
        })
    };
    assert_ne!(halved("F16"), halved("BF16"), "the same bytes");
}

#[test]
fn numbers_of_the_configuration_change_the_name_and_its_form_does_not() {
    let base = base();
    let expected = name(base.path());
    let path = base.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, is_same) in [
        ("\"rope_theta\": 10000.0", "\"rope_theta\": 10001.0", false),
        ("\"rms_norm_eps\": 1e-5", "\"rms_norm_eps\": 1e-6", false),
        ("\"layer_norm_eps\": 1e-6", "\"layer_norm_eps\": 1e-5", false),
        ("\"image_token_id\": 3", "\"image_token_id\": 4", false),
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 4", false),
        ("\"rope_theta\": 10000.0", "\"rope_parameters\": {\"rope_theta\": 1e4}", true),
        ("\"layer_norm_eps\": 1e-6", "\"layer_norm_eps\": 0.000001, \"num_channels\": 3", true),
        ("\"max_position_embeddings\": 128", "\"max_position_embeddings\": 256", true),
        ("\"model_type\": \"idefics3\"", "\"model_type\": \"smolvlm\", \"torch_dtype\": \"float32\"", true),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert_eq!(name(base.path()) == expected, is_same, "{to}");
    }
}

/// Frozen, and computed by other means (Python with hashlib): a fingerprint that was written once must be found again by every
/// later version.
#[test]
fn the_scheme_stays_as_it_is() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
    assert_eq!(
        name(&model).written(),
        "sha256-tensors-v1:53f6264b61e16300c879121b97185f0606950c3ee9c7385bdadf60a01b5ba66c"
    );
    assert_eq!(
        vlm_lora::Processor::fingerprint(&model).unwrap().written(),
        "sha256-processor-v1:9f1a5fd859ad87826d2d59bf295a97c57fa18fd75caee6804450fc84a2fe0ae6"
    );
}
