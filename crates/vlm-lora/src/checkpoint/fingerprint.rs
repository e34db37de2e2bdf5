use std::ops::Range;

use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Checkpoint, TensorFile};
use crate::checkpoint::tensors::TensorEntry;
use crate::fingerprint::{Fingerprint, FingerprintScheme, Stamped, canonical_json};
use crate::rotary::Llama3Scaling;
use crate::{ModelConfig, TextConfig, VisionConfig};

/// Bytes of a tensor that are hashed as one piece: small enough that the largest tensor occupies all threads.
const PIECE: usize = 4 << 20;

impl Checkpoint {
    /// Names the weights: the same for the same tensors under the same numbers of `config.json`, whatever the folder is called,
    /// however the tensors are divided into files, and in whatever order and with whatever metadata the files hold them.
    ///
    /// The scheme `sha256-tensors-v1`: each tensor's bytes are cut into pieces of 4 MiB, and the pieces hashed on all threads
    /// of the current rayon pool. A tensor's hash is SHA-256 over name and element type (each after its length), the number of
    /// dimensions, the dimensions, the number of bytes, and the hashes of its pieces; whole numbers are eight bytes,
    /// little-endian. The fingerprint is SHA-256 over the number of tensors, their hashes in the order of their names (of all
    /// that are stored, read or not), and, as JSON with sorted keys and floating-point numbers
    /// by their bits, what a forward pass takes from the configuration.
    ///
    /// Every byte is read. [`FingerprintCache`](crate::FingerprintCache) remembers the result.
    pub fn fingerprint(&self) -> Fingerprint {
        let tensors: Vec<_> = self.entries().collect();
        let pieces: Vec<(&TensorFile, Range<usize>)> = tensors
            .iter()
            .flat_map(|&(_, file, entry)| pieces(entry).map(move |range| (file, range)))
            .collect();
        let hash_piece = |(file, range): &(&TensorFile, Range<usize>)| {
            let hash: [u8; 32] = Sha256::digest(file.bytes_of(range)).into();
            file.release_range(range);
            hash
        };
        let hashes: Vec<[u8; 32]> = pieces.par_iter().map(hash_piece).collect();
        self.of_pieces(&tensors, &hashes)
    }

    /// The fingerprint, of the hashes of all pieces in their order.
    fn of_pieces(&self, tensors: &[(&str, &TensorFile, &TensorEntry)], hashes: &[[u8; 32]]) -> Fingerprint {
        let mut all = Sha256::new();
        add_number(&mut all, tensors.len());
        let mut rest = hashes;
        for (name, _, entry) in tensors {
            let (own, others) = rest.split_at(pieces_of(entry));
            all.update(hash_tensor(name, entry, own));
            rest = others;
        }
        all.update(self.numbers());
        Fingerprint::new(FingerprintScheme::Tensors, all.finalize().into())
    }

    /// The stored tensors in the order of their names.
    fn entries(&self) -> impl Iterator<Item = (&str, &TensorFile, &TensorEntry)> {
        self.place.iter().filter_map(|(name, &at)| {
            let file = &self.files[at];
            Some((name.as_str(), file, file.entry(name)?))
        })
    }

    /// What a forward pass takes from the configuration, as canonical JSON. `model_type` and `max_position_embeddings` change
    /// no number.
    pub(crate) fn numbers(&self) -> String {
        numbers(&self.config)
    }

    /// By what the files that are mapped are recognised; `None` where the system does not say.
    pub(crate) fn stamps(&self) -> Option<Vec<Stamped>> {
        self.files.iter().map(|file| file.stamp().cloned()).collect()
    }
}

fn pieces_of(entry: &TensorEntry) -> usize {
    entry.range.len().div_ceil(PIECE)
}

fn pieces(entry: &TensorEntry) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = entry.range;
    (start..end).step_by(PIECE).map(move |at| at..end.min(at + PIECE))
}

fn hash_tensor(name: &str, entry: &TensorEntry, pieces: &[[u8; 32]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let dtype = entry.dtype.to_string();
    for text in [name, &dtype] {
        add_number(&mut hash, text.len());
        hash.update(text);
    }
    add_number(&mut hash, entry.shape.len());
    for &dimension in &entry.shape {
        add_number(&mut hash, dimension);
    }
    add_number(&mut hash, entry.range.len());
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().into()
}

fn add_number(hash: &mut Sha256, number: usize) {
    hash.update((number as u64).to_le_bytes());
}

fn numbers(config: &ModelConfig) -> String {
    // Taken apart whole, so that whoever adds a field decides here whether it is a part of the name.
    let ModelConfig { model_type: _, vision, text, scale_factor, image_token_id, tie_word_embeddings } =
        config;
    canonical_json(json!({
        "vision": vision_numbers(vision), "text": text_numbers(text), "scale_factor": scale_factor,
        "image_token_id": image_token_id, "tie_word_embeddings": tie_word_embeddings,
    }))
}

fn vision_numbers(config: &VisionConfig) -> serde_json::Value {
    let VisionConfig {
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_channels,
        image_size,
        patch_size,
        layer_norm_eps,
    } = config;
    json!({
        "hidden_size": hidden_size, "intermediate_size": intermediate_size, "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads, "num_channels": num_channels, "image_size": image_size,
        "patch_size": patch_size, "layer_norm_eps": layer_norm_eps,
    })
}

fn text_numbers(config: &TextConfig) -> serde_json::Value {
    let TextConfig {
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        rms_norm_eps,
        rope_theta,
        rope_scaling,
        max_position_embeddings: _,
    } = config;
    let mut numbers = json!({
        "vocab_size": vocab_size, "hidden_size": hidden_size, "intermediate_size": intermediate_size,
        "num_hidden_layers": num_hidden_layers, "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads, "head_dim": head_dim, "rms_norm_eps": rms_norm_eps,
        "rope_theta": rope_theta,
    });
    // Left out where there is none, so that a base keeps the name that it had before angles could be stretched.
    if let Some(Llama3Scaling {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    }) = rope_scaling
    {
        numbers["rope_scaling"] = json!({
            "factor": factor, "low_freq_factor": low_freq_factor, "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        });
    }
    numbers
}
